"""A head trained with its frozen network run on the images of every batch: what stored features save is measured by it.

The same head as `fit_head` makes of stored features, up to rounding, for many times the cost.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.classifier.batch_loss import BatchLoss
from flowerti.classifier.batches import PLAIN, LabelledInputs, TrainingRun, draw_batches
from flowerti.classifier.training import Head, detached, new_head, take_steps
from flowerti.features.backbones import Backbone
from flowerti.features.extraction import preprocess


def fit_head_end_to_end(backbone: Backbone, train: LabelledInputs, run: TrainingRun) -> Head:
    """Train a head on the images [num, views, height, width, 3] behind the features of `fit_head`.

    Raises:
        ValueError: as `fit_head`.
    """
    head = new_head(train.num_classes, backbone.dim, backbone.device, None)
    draws = draw_batches(train, run, PLAIN)
    loss = BatchLoss(train, run.config.label_smoothing, PLAIN, backbone.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        batch = train.inputs[draws.images[step].numpy(), draws.views[step].numpy()]
        with torch.no_grad():
            features = backbone.module(preprocess(backbone, batch))
        return loss(nn.functional.linear(features, head.weight, head.bias), draws.images[step])

    for _ in take_steps(step_loss, [head.weight, head.bias], run, run.num_steps):
        pass
    return detached(head)
