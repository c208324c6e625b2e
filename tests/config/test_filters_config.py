"""Filters: what a data set cannot serve is refused in one line, and how many images they can leave is known."""

from pathlib import Path

import pytest

from flowerti.config.filters import FiltersConfig


def test_a_rank_that_refuses_nothing_is_refused():
    config = FiltersConfig(keep=("top_k",), top_k=10)
    config.check(11)
    FiltersConfig(top_k=10).check(3)
    with pytest.raises(
        ValueError, match=r"^filters\.top_k is 10, and among 10 classes that refuses nothing: lower it$"
    ):
        config.check(10)


def test_clip_is_refused_where_it_is_not(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^filters\.keep asks for CLIP: name a folder .* in filters\.clip$"):
        FiltersConfig(keep=("clip",))
    config = FiltersConfig(keep=("clip",), clip=str(tmp_path))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        with pytest.raises(ValueError, match=rf"^filters\.clip {tmp_path} has no {name}"):
            config.check(3)
        (tmp_path / name).touch()
    config.check(3)


@pytest.mark.parametrize(
    ("keep", "num_drawn", "expected"),
    [
        ((), 7, 7),
        (("top_share",), 7, 3),
        (("hard_share",), 7, 3),
        (("no_outliers",), 7, 6),
        (("no_outliers",), 4, 4),
        (("top_share", "no_outliers"), 10, 4),
        (("confidence", "no_copies"), 7, 7),
    ],
)
def test_how_many_can_be_kept(keep: tuple[str, ...], num_drawn: int, expected: int):
    config = FiltersConfig(keep=keep, share=0.4, far_share=0.2)
    assert config.max_kept(num_drawn) == expected
    needed = config.num_to_draw(expected)
    assert config.max_kept(needed) >= expected > config.max_kept(needed - 1)
