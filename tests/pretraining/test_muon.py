"""Muon against singular value decompositions, torch's own Muon, AdamW, and itself in two processes."""

import pytest
import torch
from torch import nn

from flowerti.classifier.batch_share import BatchShare
from pretraining.muon import Muon, orthogonalised


def gradients(*shape: int, number: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(*shape, generator=generator) for _ in range(number)]


def stepped(optimizer: torch.optim.Optimizer, weight: nn.Parameter, given: list[torch.Tensor]) -> torch.Tensor:
    for gradient in given:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_singular_vectors_stay_and_singular_values_come_near_1(shape):
    matrix = gradients(*shape)[0]
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.T @ orthogonalised(matrix) @ right.T
    # in the singular vectors of the matrix it is diagonal
    assert (values - values.diag().diag()).abs().max() < 1e-3
    assert 0.6 < values.diag().min() and values.diag().max() < 1.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_a_matrix_is_stepped_as_by_torch(shape):
    given, start = gradients(*shape), torch.ones(*shape)
    weight, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours = stepped(Muon([{"params": [weight], "muon": True}], 0.05, (0.9, 0.99), bfloat16=True), weight, given)
    like = torch.optim.Muon([other], lr=0.05, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    theirs = stepped(like, other, given)
    moved = (theirs - start).norm()
    # theirs is computed in bfloat16 as well, in another order
    assert (ours - theirs).norm() < 0.05 * moved
    in_full = nn.Parameter(start.clone())
    ours = stepped(Muon([{"params": [in_full], "muon": True}], 0.05, (0.9, 0.99)), in_full, given)
    assert (ours - theirs).norm() < 0.05 * moved


def test_a_convolution_is_the_matrix_of_its_output_channels():
    flat = [g.flatten(1) for g in gradients(16, 4, 3, 3)]
    kernel, matrix = nn.Parameter(torch.zeros(16, 4, 3, 3)), nn.Parameter(torch.zeros(16, 36))
    given = gradients(16, 4, 3, 3)
    kernel.data = kernel.data.to(memory_format=torch.channels_last)
    ours = stepped(Muon([{"params": [kernel], "muon": True}], 0.05, (0.9, 0.99)), kernel, given)
    same = stepped(Muon([{"params": [matrix], "muon": True}], 0.05, (0.9, 0.99)), matrix, flat)
    torch.testing.assert_close(ours.flatten(1), same)


@pytest.mark.parametrize(("shape", "muon"), [((40,), True), ((3, 40), True), ((16, 40), False)])
def test_all_else_is_stepped_by_adamw(shape, muon):
    given = gradients(*shape)
    weight, other = nn.Parameter(torch.ones(*shape)), nn.Parameter(torch.ones(*shape))
    ours = stepped(Muon([{"params": [weight], "muon": muon}], 0.05, (0.9, 0.99)), weight, given)
    theirs = stepped(torch.optim.AdamW([other], lr=0.05, betas=(0.9, 0.99)), other, given)
    torch.testing.assert_close(ours, theirs)


def test_two_processes_share_the_work_and_take_the_same_step():
    given = [gradients(16, 40)[0], gradients(40, 16)[0], gradients(20, 30)[0]]

    def updates(part: BatchShare) -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.zeros_like(g)) for g in given]
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        optimizer = Muon([{"params": weights, "muon": True}], 0.05, (0.9, 0.99), part)
        return optimizer._updates(weights)

    first, second = (updates(BatchShare(rank=rank, size=2)) for rank in range(2))
    assert not first[1].any() and not second[0].any()
    for one, other, whole in zip(first, second, updates(BatchShare()), strict=True):
        torch.testing.assert_close((one + other) / 2, whole)
