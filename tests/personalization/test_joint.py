"""Classes that are learnt together: what a batch of them holds, and that its loss is the mean of their own."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from small_techniques import FAMILIES, RUN_SEED, code_of, in_double

from flowerti.artifacts.identity import ALL_CLASSES, seed_for
from flowerti.config.experiment import LoraConfig, SharedLoraConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import Draw, EncodedImages, draw, evaluate, prepare
from flowerti.personalization.encoding import encode_text
from flowerti.personalization.joint import put_together, with_all_tokens
from flowerti.personalization.schedule import learning_rate_at
from flowerti.personalization.textual_inversion.losses import denoising_loss
from flowerti.personalization.train_state import state_from
from flowerti.personalization.trainer import ClassTraining, Procedure, learn_together
from flowerti.prompts import TEMPLATES

TOKENS = ("<rose>", "<sword_lily>")
NUM_VECTORS = (2, 3)
SMALL = SharedLoraConfig(rank=2, num_steps=10, batch_size=4, learning_rate=2e-2, eval_every_steps=5, num_eval_latents=8)
LORA = code_of("shared_lora")


def with_tokens(base: Base) -> list[Base]:
    """The base with the token of each of two classes, of two rows and of three."""
    generator = torch.Generator().manual_seed(4)
    rows = [0.1 * torch.randn(num, sum(base.row_widths), generator=generator) for num in NUM_VECTORS]
    return [
        dataclasses.replace(base, token=token, token_rows=of_class.to(base.dtype))
        for token, of_class in zip(TOKENS, rows, strict=True)
    ]


def prepared(bases: Sequence[Base], images: torch.Tensor) -> list[EncodedImages]:
    """Of a class of two images, and of one of three."""
    parts = [images[:2], images[2:5]]
    return [prepare(b, part, b.token, len(b.token_rows)) for b, part in zip(bases, parts, strict=True)]


def together(base: Base, images: torch.Tensor) -> tuple[Base, EncodedImages]:
    bases = with_tokens(base)
    return with_all_tokens(bases), put_together(bases, prepared(bases, images))


def share_of(drawn: Draw, data: EncodedImages, k: int) -> Draw:
    """The choices of a batch that fell on class k, numbered as in the class's own data."""
    first = sum(data.num_views[:k])
    mine = (drawn.views >= first) & (drawn.views < first + data.num_views[k])
    fields = {f.name: getattr(drawn, f.name)[mine] for f in dataclasses.fields(drawn) if f.name != "prior"}
    fields["views"] = fields["views"] - first
    fields["captions"] = fields["captions"] - k * len(TEMPLATES)
    return Draw(**fields)


def test_captions_hold_the_rows_of_their_own_class(make_tiny_base, images):
    """Encoded by hand: the words of both classes in the tokenizer, and all rows at the end of the embedding's table."""
    base = load_base(make_tiny_base(text_gain=8.0), "float32", "cpu")
    joint, data = together(base, images)
    tokenizer, encoder = copy.deepcopy(base.tokenizer), copy.deepcopy(base.text_encoder)
    words = [["<rose>", "<rose>_1"], ["<sword_lily>", "<sword_lily>_1", "<sword_lily>_2"]]
    for of_class in words:
        tokenizer.add_tokens(of_class)
    encoder.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        encoder.get_input_embeddings().weight[-5:] = torch.cat([one.token_rows for one in with_tokens(base)])
        prompts = [template.format(" ".join(of_class)) for of_class in words for template in TEMPLATES]
        by_hand = encoder(tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids)[0]
        ours = encode_text(joint, data.captions, joint.token_rows).hidden
    torch.testing.assert_close(ours, by_hand, rtol=0, atol=1e-6)
    assert (by_hand[0] - by_hand[len(TEMPLATES)]).abs().max() > 1e-3, "the classes' words differ"


def test_each_class_has_its_share_of_a_batch_and_each_view_its_share_of_the_class(base, images):
    _, data = together(base, images)
    assert (data.num_views, data.num_captions, len(data.mean)) == ((4, 6), len(TEMPLATES), 10)
    counts, odd = torch.zeros(10), []
    for seed in range(1500):
        drawn = draw(data, 8, 1000, seed)
        of_first = drawn.views < 4
        assert of_first.sum() == 4, "as many latents of each class, although the second has more images"
        assert torch.equal(drawn.captions < len(TEMPLATES), of_first), "a caption is one of its image's class"
        counts += torch.bincount(drawn.views, minlength=10)
        odd.append((draw(data, 3, 1000, seed).views < 4).sum().item())
    expected = torch.tensor([1500.0] * 4 + [1000.0] * 6)
    assert ((counts - expected).abs() < 4.5 * expected.sqrt()).all()
    assert set(odd) == {1, 2}, "rounded up or down"
    assert abs(sum(odd) / 1500 - 1.5) < 4.5 * 0.5 / 1500**0.5
    places = torch.stack([draw(data, 8, 1000, seed).views < 4 for seed in range(1500)]).float().mean(dim=0)
    assert (places - 0.5).abs().max() < 4.5 * 0.5 / 1500**0.5, "at every place of the batch"


def test_one_class_s_draws_are_what_they_were(base, images):
    """Restated: the order in which one class's choices take numbers from the generator."""
    data = prepare(base, images, "<rose>", 2)
    drawn, generator = draw(data, 6, 1000, 7), torch.Generator().manual_seed(7)
    strata = torch.randperm(6, generator=generator) + torch.rand(6, generator=generator)
    assert torch.equal(drawn.timesteps, (strata * (1000 / 6)).long())
    assert torch.equal(drawn.views, torch.randint(10, (6,), generator=generator))
    assert torch.equal(drawn.captions, torch.randint(len(TEMPLATES), (6,), generator=generator))
    assert torch.equal(drawn.posterior_noise, torch.randn(drawn.noise.shape, generator=generator))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_a_batch_is_the_mean_of_the_classes_own(make_tiny_base, images, family):
    base = in_double(load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu"))
    joint, data = together(base, images)
    drawn = draw(data, 8, 1000, 3)
    start = LORA.start(base, data, SMALL, ALL_CLASSES, 0).double()
    row = (start + 0.05 * torch.randn(start.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    (loss,) = LORA.losses(joint, [data])(joint, [row], [data], [drawn])
    (gradient,) = torch.autograd.grad(loss, [row])
    bases, alone = with_tokens(base), []
    for k, (one, own) in enumerate(zip(bases, prepared(bases, images), strict=True)):
        (own_loss,) = LORA.losses(one, [own])(one, [row], [own], [share_of(drawn, data, k)])
        alone.append(torch.autograd.grad(own_loss, [row])[0])
    torch.testing.assert_close(gradient, (alone[0] + alone[1]) / 2, rtol=0, atol=1e-12)
    assert (alone[0] - alone[1]).abs().max() > 1e-6


def train(base: Base, data: EncodedImages, config: Any) -> ClassTraining:
    start = LORA.start(base, data, config, ALL_CLASSES, seed_for(RUN_SEED, ALL_CLASSES, "shared_lora/start", 0))
    training = ClassTraining(
        class_name=ALL_CLASSES, run_seed=RUN_SEED, data=data, state=state_from(start.to(base.dtype))
    )
    procedure = Procedure(base=base, config=config, losses=LORA.losses(base, [data]), seed_name="shared_lora")
    (ended,) = learn_together(procedure, [training], lambda _: None)
    assert not ended.error
    return ended


def test_one_class_together_with_none_is_learnt_as_its_own_adapter(make_tiny_base, images):
    """Ten steps in float64 beside the technique `lora` on the class's own data, with plain AdamW and the same draws."""
    base = with_tokens(in_double(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu")))[0]
    own = prepare(base, images, base.token, 2)
    data = put_together([base], [own])
    assert torch.equal(data.captions, own.captions) and data.num_views == (10,)
    adapter = code_of("lora")
    config = LoraConfig(rank=SMALL.rank)
    seed = seed_for(RUN_SEED, ALL_CLASSES, "shared_lora/start", 0)
    row = adapter.start(base, own, config, "rose", seed).double().requires_grad_()
    losses, before = adapter.losses(base, [own]), row.detach().clone()
    optimizer = torch.optim.AdamW([row], weight_decay=SMALL.weight_decay)
    for step in range(SMALL.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, SMALL)
        optimizer.zero_grad()
        drawn = draw(data, SMALL.batch_size, 1000, seed_for(RUN_SEED, ALL_CLASSES, "shared_lora/step", step))
        losses(base, [row], [own], [drawn])[0].backward()
        optimizer.step()
    learnt = train(with_all_tokens([base]), data, SMALL).state.learnt
    torch.testing.assert_close(learnt, row.detach(), rtol=0, atol=1e-12)
    assert (learnt - before).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_it_goes_on_where_the_tokens_stopped_and_helps_every_class_on_unseen_draws(make_tiny_base, images, family):
    base = load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu")
    joint, data = together(base, images)
    config = dataclasses.replace(SMALL, num_steps=40, batch_size=8)
    state = train(joint, data, config).state
    bases = with_tokens(base)
    seed = seed_for(RUN_SEED, ALL_CLASSES, "inversion/evaluation", 0)
    nothing = torch.zeros_like(state.best)
    at_start = evaluate(joint, nothing, data, config, seed, LORA.losses(joint, [data]))
    assert state.curve[0].loss == pytest.approx(at_start, rel=1e-5)
    for one, own in zip(bases, prepared(bases, images), strict=True):
        unseen = draw(own, 64, 1000, 12345)
        with torch.no_grad():
            before = denoising_loss(one, one.token_rows, own, unseen)
            (after,) = LORA.losses(one, [own])(one, [state.best], [own], [unseen])
        assert after < 0.97 * before
