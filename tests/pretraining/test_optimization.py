"""The learning rate over the steps, clipping, and weights averaged over steps."""

import pytest
import torch

from flowerti.classifier.batch_share import WHOLE_BATCH
from pretraining.optimization import AveragedWeights, computing_in, descend, rate_at


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth():
    assert rate_at(0, 100, 10) == pytest.approx(0.1)
    assert rate_at(10, 100, 10) == pytest.approx(1.0)
    assert rate_at(55, 100, 10) == pytest.approx(0.51)
    assert rate_at(100, 100, 10) == pytest.approx(0.02)


def test_a_step_goes_down_a_gradient_of_norm_one_at_most():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    descend(50.0 * weight.square().sum(), torch.optim.SGD([weight], lr=1.0), [weight], WHOLE_BATCH)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0 - 0.6, 4.0 - 0.8]), rtol=0, atol=1e-4)


def test_averages_are_those_of_the_weights_seen_and_stand_in_for_them():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    averaged = AveragedWeights([weight], longest_decay=0.5)
    for step, value in enumerate((2.0, 6.0, 4.0)):
        weight.data.fill_(value)
        averaged.update(step)
    # decays 1/10, 2/11, 3/12: 0.1 + 1.8 = 1.9; 1.9 * 2/11 + 6 * 9/11; then a quarter of it and 3
    wanted = (1.9 * 2 / 11 + 6 * 9 / 11) * 0.25 + 3.0
    with averaged.in_place():
        assert weight.item() == pytest.approx(wanted, rel=1e-6)
    assert weight.item() == 4.0
    averaged.swap()
    assert weight.item() == pytest.approx(wanted, rel=1e-6)


def test_products_are_computed_in_bfloat16_where_that_is_asked_for():
    ones = torch.ones(2, 2)
    for wanted, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with computing_in(wanted):
            assert (ones @ ones).dtype == dtype
    assert (ones @ ones).dtype == torch.float32
