"""The discriminator on features: what its losses are, and that it learns to tell."""

import pytest
import torch

from pretraining.discriminator import FeatureDiscriminator, discriminator_loss, generator_loss


def _features(shift: float, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(6, width, 5, 5, generator=generator) for width in (8, 12)]
    maps = [torch.cat([m[:, :1] + shift, m[:, 1:]], dim=1) for m in maps]
    return [torch.nn.functional.normalize(m, dim=1) for m in maps]


def test_the_losses_are_the_hinge():
    true = [torch.tensor([2.0, 0.5]), torch.tensor([-1.0])]
    drawn = [torch.tensor([-3.0, 0.0]), torch.tensor([-1.5])]
    # block 1: (0 + 0.5) / 2 + (0 + 1) / 2 = 0.75; block 2: 2 + 0 = 2
    assert discriminator_loss(true, drawn).item() == pytest.approx((0.75 + 2.0) / 2)
    assert generator_loss(drawn).item() == pytest.approx((1.5 + 1.5) / 2)


def test_every_position_is_judged_by_what_lies_around_it():
    torch.manual_seed(0)
    discriminator, features = FeatureDiscriminator([8, 12]).eval(), _features(0.0, 0)  # no power iteration
    before = discriminator(features)
    assert [logits.shape for logits in before] == [(6, 1, 5, 5)] * 2
    features[0] = features[0].clone()
    features[0][:, :, 0, 0] *= -1.0
    moved = (discriminator(features)[0] - before[0]).abs().amax(dim=(0, 1)) > 1e-4
    assert moved[:2, :2].all() and not moved[2:].any() and not moved[:, 2:].any()


def test_it_learns_to_tell_two_kinds_of_features_apart():
    torch.manual_seed(0)
    discriminator = FeatureDiscriminator([8, 12])
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    for step in range(60):
        loss = discriminator_loss(discriminator(_features(1.0, step)), discriminator(_features(-1.0, 1000 + step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    true, drawn = discriminator(_features(1.0, 5000)), discriminator(_features(-1.0, 6000))
    assert all(a.mean() > b.mean() + 0.5 for a, b in zip(true, drawn, strict=True))
