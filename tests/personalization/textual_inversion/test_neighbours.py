import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import torch

from flowerti.artifacts.records import ConceptNeighbour
from flowerti.diffusion import Base, load_base
from flowerti.personalization.textual_inversion.neighbours import _readable, nearest_concepts, nearest_tokens
from flowerti.personalization.textual_inversion.starts import word_id


def _table(base: Base) -> np.ndarray:
    return base.text_encoder.get_input_embeddings().weight.numpy().astype(np.float64)


def _brute_force(base: Base, row: np.ndarray) -> list[tuple[float, int]]:
    found = []
    for token_id, entry in enumerate(_table(base)):
        if token_id not in base.tokenizer.all_special_ids:
            cosine = float(row @ entry / np.sqrt((row @ row) * (entry @ entry)))
            found.append((cosine, token_id))
    return sorted(found, reverse=True)


def test_neighbours_are_those_of_a_plain_loop(base):
    rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(4)) * 5
    neighbours = nearest_tokens(base, rows, num_tokens=7)
    assert [n.vector for n in neighbours] == [0] * 7 + [1] * 7 + [2] * 7
    for vector, row in enumerate(rows.numpy().astype(np.float64)):
        ours = [n for n in neighbours if n.vector == vector]
        expected = _brute_force(base, row)[:7]
        np.testing.assert_allclose([n.cosine for n in ours], [cosine for cosine, _ in expected], atol=2e-6)
        assert [n.token for n in ours] == [_readable(base, token_id) for _, token_id in expected]


def test_words_and_pieces_are_told_apart(base):
    ids = [word_id(base.tokenizer, "flower"), base.tokenizer.convert_tokens_to_ids("flow")]
    rows = torch.from_numpy(_table(base)[ids]).float()
    word, piece = nearest_tokens(base, rows, num_tokens=1)
    assert (word.token, word.cosine) == ("flower", 1.0)
    assert (piece.token, piece.cosine) == ("flow-", 1.0)


def test_special_tokens_are_left_out(base):
    specials = base.tokenizer.all_special_ids
    rows = torch.from_numpy(_table(base)[specials]).float()
    neighbours = nearest_tokens(base, rows, num_tokens=10_000)
    assert len(neighbours) == len(rows) * (base.vocabulary_size - len(specials))
    assert not any("<|" in n.token for n in neighbours)
    assert all(n.cosine < 0.999 for n in neighbours)


def test_rows_of_the_table_without_a_token_are_left_out(base):
    text_encoder = copy.deepcopy(base.text_encoder)
    text_encoder.resize_token_embeddings(base.vocabulary_size + 8, mean_resizing=False)
    padded = dataclasses.replace(base, text_encoder=text_encoder)
    row = text_encoder.get_input_embeddings().weight[-1:].detach().clone()
    row += 1e-3
    text_encoder.get_input_embeddings().weight.data[-1:] = row
    assert nearest_tokens(padded, row) == nearest_tokens(base, row)


def test_bytes_are_shown_as_the_letters_that_they_spell(base):
    for entry, shown in (("rosÃ©</w>", "rosé"), ("Ã", "Ã-"), ("Ī</w>", "Ī")):
        tokenizer = SimpleNamespace(convert_ids_to_tokens=lambda _, entry=entry: entry)
        assert _readable(dataclasses.replace(base, tokenizer=tokenizer), 0) == shown


def _between(found: list[ConceptNeighbour]) -> list[tuple[str, int, str, int, float]]:
    return [(n.class_name, n.vector, n.other_class_name, n.other_vector, n.cosine) for n in found]


ROWS = {
    "rose": torch.tensor([[1.0, 0.0], [3.0, 4.0]]),
    "lily": torch.tensor([[0.0, 2.0]]),
    "azalea": torch.tensor([[-8.0, -6.0]]),
}


def test_each_row_s_nearest_rows_are_those_of_other_classes():
    assert _between(nearest_concepts(ROWS, [2])) == [
        ("rose", 0, "lily", 0, 0.0),
        ("rose", 0, "azalea", 0, -0.8),
        ("rose", 1, "lily", 0, 0.8),
        ("rose", 1, "azalea", 0, -0.96),
        ("lily", 0, "rose", 1, 0.8),
        ("lily", 0, "rose", 0, 0.0),
        ("lily", 0, "azalea", 0, -0.6),
        ("azalea", 0, "lily", 0, -0.6),
        ("azalea", 0, "rose", 0, -0.8),
        ("azalea", 0, "rose", 1, -0.96),
    ]


def test_only_so_many_rows_are_named_and_none_for_a_class_alone():
    nearest = nearest_concepts(ROWS, [2], num_rows=1)
    assert [n.other_class_name for n in nearest] == ["lily", "lily", "rose", "lily"]
    assert nearest_concepts({"rose": ROWS["rose"]}, [2]) == []
    assert nearest_concepts({}, []) == []


def test_sdxl_s_cosine_is_the_mean_over_both_encoders(make_tiny_base):
    rows = {"rose": torch.tensor([[1.0, 0.0, 7.0]]), "lily": torch.tensor([[3.0, 4.0, 0.5]])}
    cosine = (0.6 + 1.0) / 2
    assert _between(nearest_concepts(rows, [2, 1])) == [("rose", 0, "lily", 0, cosine), ("lily", 0, "rose", 0, cosine)]
    base = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    token_id = word_id(base.tokenizer, "flower")
    row = torch.cat([encoder.get_input_embeddings().weight[token_id] for encoder in base.text_encoders])
    (nearest,) = nearest_tokens(base, row[None].detach(), num_tokens=1)
    assert (nearest.token, nearest.cosine) == ("flower", 1.0)
