import dataclasses

import pytest
import torch

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import TrainingSet, evaluate, prepare
from flowerti.personalization.encoding import word_id
from flowerti.personalization.textual_inversion import starts
from flowerti.personalization.textual_inversion.starts import nearest_word, start_rows, whole_table
from flowerti.personalization.trainer import learn, start

TOKEN = "<rose>"
SMALL = TextualInversionConfig(num_vectors=2, num_steps=24, batch_size=8, num_eval_latents=8, eval_every_steps=8)


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Base:
    return load_base(make_tiny_base(text_gain=16.0), "float32", "cpu")


@pytest.fixture(scope="module")
def data(vivid_base, images) -> TrainingSet:
    return prepare(vivid_base, images, TOKEN, 2)


def _rows(base: Base, data: TrainingSet, class_name: str = "red rose", **settings) -> torch.Tensor:
    return start_rows(base, data, dataclasses.replace(SMALL, **settings), class_name, 3)


def _word(base: Base, word: str) -> torch.Tensor:
    return base.text_encoder.get_input_embeddings().weight[word_id(base, word)]


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
    chosen = nearest_word(vivid_base, data, config, "rose", 3)
    seed = starts.seed_for(3, "rose", "inversion/start", 0)
    words = [entry for entry in vivid_base.tokenizer.get_vocab() if entry.endswith("</w>") and entry[:-4].isalpha()]
    losses = {}
    for entry in words:
        row = _word(vivid_base, entry.removesuffix("</w>")) if len(entry) > 5 else None
        token_id = vivid_base.tokenizer.convert_tokens_to_ids(entry)
        table = vivid_base.text_encoder.get_input_embeddings().weight
        row = table[token_id] if row is None else row
        losses[token_id] = evaluate(vivid_base, row.repeat(2, 1), data, config, seed)
    assert losses[chosen] == min(losses.values())
    assert torch.equal(start_rows(vivid_base, data, config, "rose", 3)[1], whole_table(vivid_base)[chosen])


def test_the_shortlist_finds_a_better_word_than_the_initializer(vivid_base, data):
    config = dataclasses.replace(SMALL, start="nearest", num_eval_latents=16)
    seed = starts.seed_for(3, "rose", "inversion/start", 0)
    nearest = start_rows(vivid_base, data, config, "rose", 3)
    initial = start_rows(vivid_base, data, SMALL, "rose", 3)
    assert evaluate(vivid_base, nearest, data, config, seed) < evaluate(vivid_base, initial, data, config, seed)


@pytest.mark.parametrize(
    "kind", ["initializer_token", "class_name", "class_name_mean", "nearest", "random", "zero", "mean"]
)
def test_from_every_start_every_vector_learns(vivid_base, data, kind):
    config = dataclasses.replace(SMALL, start=kind, learning_rate=0.05)
    progress = start(vivid_base, data, config, "red rose", 3)
    initial = progress.rows.clone()
    learnt = learn(vivid_base, data, config, "red rose", 3, progress, lambda _: None)
    # the nearest word leaves least to learn
    assert learnt.best.loss < 0.995 * learnt.curve[0].loss
    assert (learnt.best_rows - initial).norm(dim=1).min() > 1e-2
    assert torch.pdist(learnt.best_rows).min() > 1e-4


def test_sdxl_starts_in_both_tables(make_tiny_base, images):
    base = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    data = prepare(base, images, TOKEN, 2)
    token_id = word_id(base, "flower")
    tables = [encoder.get_input_embeddings().weight for encoder in base.text_encoders]
    expected = torch.cat([table[token_id] for table in tables])
    assert torch.equal(start_rows(base, data, SMALL, "rose", 3), expected.expand(2, -1))
    assert start_rows(base, data, dataclasses.replace(SMALL, start="nearest"), "rose", 3).shape == (2, 40)
