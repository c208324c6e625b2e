import dataclasses

import pytest
import torch
from small_training import learn, procedure_of, start

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import EncodedImages, evaluate, prepare
from flowerti.personalization.textual_inversion import starts
from flowerti.personalization.textual_inversion.losses import denoising_losses
from flowerti.personalization.textual_inversion.starts import (
    check_initializer,
    nearest_word,
    start_rows,
    whole_table,
    word_id,
)
from flowerti.personalization.trainer import ClassTraining

TOKEN = "<rose>"
SEED = seed_for(3, "rose", "inversion/start", 0)
SMALL = TextualInversionConfig(num_vectors=2, num_steps=24, batch_size=8, num_eval_latents=8, eval_every_steps=8)


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Base:
    return load_base(make_tiny_base(text_gain=16.0), "float32", "cpu")


@pytest.fixture(scope="module")
def data(vivid_base, images) -> EncodedImages:
    return prepare(vivid_base, images, TOKEN, 2)


def _rows(base: Base, data: EncodedImages, class_name: str = "red rose", **settings) -> torch.Tensor:
    return start_rows(
        base, data, dataclasses.replace(SMALL, **settings), class_name, seed_for(3, class_name, "inversion/start", 0)
    )


def _word(base: Base, word: str) -> torch.Tensor:
    return base.text_encoder.get_input_embeddings().weight[word_id(base.tokenizer, word)]


def test_the_initializer_token_s_embedding_in_float32(make_tiny_base, data):
    base = load_base(make_tiny_base(text_gain=16.0), "bfloat16", "cpu")
    rows = _rows(base, data, initializer_token="lily", num_vectors=3)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, _word(base, "lily").float().expand(3, -1))
    with pytest.raises(ValueError, match=r"initializer_token: 'sword' is 5 tokens in this base \(s w o r d</w>\)"):
        _rows(base, data, initializer_token="sword")


def test_a_class_s_words_are_spread_over_the_vectors(vivid_base, data):
    red, rose, plant = (_word(vivid_base, word) for word in ("red", "rose", "plant"))
    settings = {"start": "class_name", "class_name": "red rose plant"}
    for num_vectors, expected in (
        (3, [red, rose, plant]),
        (2, [(red + rose) / 2, plant]),
        (1, [(red + rose + plant) / 3]),
        (6, [red, red, rose, rose, plant, plant]),
        (4, [red, red, rose, plant]),
    ):
        rows = _rows(vivid_base, data, num_vectors=num_vectors, **settings)
        torch.testing.assert_close(rows, torch.stack(expected), rtol=0, atol=1e-7)


def test_a_class_s_words_may_be_averaged(vivid_base, data):
    mean = (_word(vivid_base, "red") + _word(vivid_base, "rose")) / 2
    torch.testing.assert_close(_rows(vivid_base, data, start="class_name_mean"), mean.expand(2, -1))


def test_an_unknown_word_falls_into_its_pieces(vivid_base, data):
    ids = vivid_base.tokenizer("sword", add_special_tokens=False).input_ids
    table = vivid_base.text_encoder.get_input_embeddings().weight
    rows = _rows(vivid_base, data, "sword", start="class_name", num_vectors=len(ids))
    assert len(ids) == 5
    assert torch.equal(rows, table[ids])
    with pytest.raises(ValueError, match="class name '' has no token"):
        _rows(vivid_base, data, "", start="class_name")


def test_starts_that_know_nothing_of_the_class(vivid_base, data):
    table = vivid_base.text_encoder.get_input_embeddings().weight
    assert not _rows(vivid_base, data, start="zero").any()
    torch.testing.assert_close(_rows(vivid_base, data, start="mean"), table.mean(dim=0).expand(2, -1))
    many = _rows(vivid_base, data, start="random", num_vectors=2000)
    deviations = (many.mean(dim=0) - table.mean(dim=0)).abs() / (table.std(dim=0) / 2000**0.5)
    assert deviations.max() < 4.5
    torch.testing.assert_close(many.std(dim=0), table.std(dim=0), rtol=0.1, atol=0)
    assert torch.equal(many, _rows(vivid_base, data, start="random", num_vectors=2000))
    assert not torch.equal(many[:2], _rows(vivid_base, data, "lily", start="random"))


def test_the_nearest_word_is_the_best_of_the_shortlist_by_the_evaluation_loss(vivid_base, data, monkeypatch):
    config = dataclasses.replace(SMALL, start="nearest")
    monkeypatch.setattr(starts, "_SHORTLIST_SIZE", 1000)  # every whole word of the tiny vocabulary
    chosen = nearest_word(vivid_base, data, config, "rose", SEED)
    words = [entry for entry in vivid_base.tokenizer.get_vocab() if entry.endswith("</w>") and entry[:-4].isalpha()]
    losses = {}
    for entry in words:
        row = _word(vivid_base, entry.removesuffix("</w>")) if len(entry) > 5 else None
        token_id = vivid_base.tokenizer.convert_tokens_to_ids(entry)
        table = vivid_base.text_encoder.get_input_embeddings().weight
        row = table[token_id] if row is None else row
        losses[token_id] = evaluate(vivid_base, row.repeat(2, 1), data, config, SEED, denoising_losses)
    assert losses[chosen] == min(losses.values())
    assert torch.equal(start_rows(vivid_base, data, config, "rose", SEED)[1], whole_table(vivid_base)[chosen])


def test_the_shortlist_finds_a_better_word_than_the_initializer(vivid_base, data):
    config = dataclasses.replace(SMALL, start="nearest", num_eval_latents=16)
    nearest = start_rows(vivid_base, data, config, "rose", SEED)
    initial = start_rows(vivid_base, data, SMALL, "rose", SEED)
    assert evaluate(vivid_base, nearest, data, config, SEED, denoising_losses) < evaluate(
        vivid_base, initial, data, config, SEED, denoising_losses
    )


@pytest.mark.parametrize(
    "kind", ["initializer_token", "class_name", "class_name_mean", "nearest", "random", "zero", "mean"]
)
def test_from_every_start_every_vector_learns(vivid_base, data, kind):
    config = dataclasses.replace(SMALL, start=kind, learning_rate=0.05)
    state = start(vivid_base, data, config, "red rose", 3)
    initial = state.learnt.clone()
    training = ClassTraining(class_name="red rose", run_seed=3, data=data, state=state)
    learnt = learn(procedure_of(vivid_base, config), training)
    # the nearest word leaves least to learn
    assert learnt.best_point.loss < 0.995 * learnt.curve[0].loss
    assert (learnt.best - initial).norm(dim=1).min() > 1e-2
    assert torch.pdist(learnt.best).min() > 1e-4


def test_sdxl_starts_in_both_tables(make_tiny_base, images):
    base = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    data = prepare(base, images, TOKEN, 2)
    token_id = word_id(base.tokenizer, "flower")
    tables = [encoder.get_input_embeddings().weight for encoder in base.text_encoders]
    expected = torch.cat([table[token_id] for table in tables])
    assert torch.equal(start_rows(base, data, SMALL, "rose", SEED), expected.expand(2, -1))
    assert start_rows(base, data, dataclasses.replace(SMALL, start="nearest"), "rose", SEED).shape == (2, 40)


def test_an_initializer_is_refused_before_the_base_is_loaded(tiny_base):
    check_initializer(tiny_base, "flower")
    refusal = r"^textual_inversion\.initializer_token: 'sword' is 5 tokens in this base \(s w o r d</w>\)"
    with pytest.raises(ValueError, match=refusal):
        check_initializer(tiny_base, "sword")
