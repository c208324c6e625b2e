"""Where a training stands: read back by the same networks, refused by others."""

import re

import pytest
import torch

from pretraining.optimization import AveragedWeights
from pretraining.training_state import load_standing, save_standing


def test_a_standing_of_other_networks_is_refused(base, tmp_path):
    file = tmp_path / "standing.safetensors"
    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    generator = torch.Generator()
    optimizer = torch.optim.AdamW(weights)
    save_standing(file, 7, weights, AveragedWeights(weights, 0.9), optimizer, generator)
    assert load_standing(file, weights, AveragedWeights(weights, 0.9), optimizer, generator) == 7
    for others in (weights[:1], [*weights, weights[0]], weights[::-1]):
        with pytest.raises(ValueError, match=re.escape(str(file))):
            load_standing(file, others, AveragedWeights(others, 0.9), optimizer, generator)
