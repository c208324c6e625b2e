"""The words for what was left out: counts, kinds and an example."""

from flowerti.data.listing_notes import counted, first_of, left_out


def test_kinds_are_counted_with_an_example():
    kinds = {"image: outside": ["a"], ".txt file:, no image": ["b\nc", "d"]}
    assert left_out(kinds) == [
        r"left out: 2 .txt files, no image ('b\nc', ...)",
        "left out: 1 image outside (a)",
    ]
    assert (counted(0, "image"), counted(1, "image"), first_of(["x"])) == ("0 images", "1 image", "x")
