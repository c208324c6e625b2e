import dataclasses

import pytest
import torch

from flowerti.config.experiment import SamplingConfig
from flowerti.generation.prompting import encode_each, noisy_rows, prompt_of_set, prompts_of
from flowerti.personalization.encoding import encode_prompts
from flowerti.tables.sources import SOURCES

CONFIG = SamplingConfig(contexts=("a {} by day", "a {} by night", "one {}"))
PROMPTS, TOKEN = SOURCES["token_prompts"], SOURCES["token"]


def test_a_plain_source_has_one_prompt_and_a_round_trip_none():
    assert prompts_of(TOKEN, "<rose>", CONFIG, 5, range(2)) == ['Photo of a "<rose>"'] * 2
    assert prompts_of(SOURCES["round_trip"], "rose", CONFIG, 5, range(2)) == ["", ""]


def test_contexts_are_the_same_in_every_class_and_all_are_used_before_one_comes_again():
    of_rose = prompts_of(PROMPTS, "<rose>", CONFIG, 5, range(12))
    of_lily = prompts_of(PROMPTS, "<lily>", CONFIG, 5, range(12))
    assert [prompt.replace("<lily>", "<rose>") for prompt in of_lily] == of_rose
    for turn in range(4):
        assert sorted(of_rose[3 * turn : 3 * turn + 3]) == ["a <rose> by day", "a <rose> by night", "one <rose>"]
    assert len({tuple(of_rose[begin : begin + 3]) for begin in range(0, 12, 3)}) > 1, "in another order each time"


def test_an_image_s_context_does_not_depend_on_its_shard():
    whole = prompts_of(PROMPTS, "<rose>", CONFIG, 5, range(7))
    assert prompts_of(PROMPTS, "<rose>", CONFIG, 5, range(4, 7)) == whole[4:]
    assert prompts_of(PROMPTS, "<rose>", CONFIG, 6, range(7)) != whole


def test_a_set_names_all_its_prompts():
    assert prompt_of_set(PROMPTS, "<rose>", CONFIG) == "a <rose> by day; a <rose> by night; one <rose>"
    assert prompt_of_set(TOKEN, "<rose>", CONFIG) == 'Photo of a "<rose>"'
    assert prompt_of_set(SOURCES["round_trip"], "rose", CONFIG) == ""


@torch.no_grad()
def test_each_prompt_is_encoded_as_it_is_alone(layout):
    prompts = ["a rose", "a red lily", "a rose"]
    states = encode_each(layout.base, prompts, [], 0.0)
    for i, prompt in enumerate(prompts):
        alone = encode_prompts(layout.base, [prompt])
        assert torch.equal(states.hidden[i], alone.hidden[0])
        assert alone.pooled is None or torch.equal(states.pooled[i], alone.pooled[0])
    assert len(encode_each(layout.base, ["a rose"] * 3, [], 0.0).hidden) == 1


@torch.no_grad()
def test_each_image_has_a_token_of_its_own(layout):
    rows = torch.randn(2, sum(layout.base.row_widths), generator=torch.Generator().manual_seed(0))
    base = dataclasses.replace(layout.base, token="<t>", token_rows=rows)
    prompts = ["a <t>"] * 3
    plain = encode_prompts(base, ["a <t>"]).hidden
    noisy = encode_each(base, prompts, [1, 2, 1], 0.1)
    assert torch.equal(noisy.hidden[0], noisy.hidden[2])
    assert 1e-3 < (noisy.hidden[0] - noisy.hidden[1]).abs().max()
    assert 1e-3 < (noisy.hidden[0] - plain[0]).abs().max() < 3
    none = encode_each(base, prompts, [1, 2, 3], 0.0)
    assert all(torch.equal(one, plain[0]) for one in none.hidden)
    assert torch.equal(encode_each(base, prompts[1:], [2, 1], 0.1).hidden, noisy.hidden[1:]), "not of the batch"


@pytest.mark.parametrize("norm", [0.4, 20.0])
def test_noise_is_a_share_of_the_row_s_norm(norm):
    rows = torch.nn.functional.normalize(torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))) * norm
    moved = noisy_rows(rows, 0.25, torch.Generator().manual_seed(1)) - rows
    # E |e|^2 = (0.25 |r|)^2; its relative standard error over 4000 rows of 64 numbers is 0.3 %
    assert (moved.norm(dim=1) ** 2).mean().sqrt().item() == pytest.approx(0.25 * norm, rel=0.01)
    assert moved.mean().abs().item() < 0.01 * norm
