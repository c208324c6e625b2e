"""Which records and sets the stages after the images are given."""

from flowerti.artifacts.records import ImageSet, Learned
from flowerti.pipeline import first_learnings


def test_first_learnings_alone_go_on_in_their_order():
    learned = [Learned(class_name=name, technique="lora", learning=k) for name in "ba" for k in (0, 1)]
    sets = [
        ImageSet(class_name="a", source=source, learning=k, prompt="", num_images=1, files=[], key="")
        for source, k in (("raw", 0), ("token", 1), ("token", 0))
    ]
    assert first_learnings(learned) == [learned[0], learned[2]]
    assert first_learnings(sets) == [sets[0], sets[2]]
