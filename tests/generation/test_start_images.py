from collections import Counter

import pytest

from flowerti.generation.starts import StartImage, starts_of

IMAGES = [StartImage(id=str(i), class_name="rose", address=f"{i}.png") for i in range(5)]


def pairs(num_images: int, strengths: tuple[float, ...], indices: range) -> list[tuple[str, float]]:
    return [(start.image.id, start.strength) for start in starts_of(IMAGES[:num_images], strengths, 7, indices)]


@pytest.mark.parametrize(("num_images", "strengths"), [(5, (0.2, 0.5, 0.7)), (3, (0.2, 0.5, 0.7)), (1, (0.2, 0.5))])
def test_each_image_meets_each_strength_equally_often(num_images, strengths):
    period = num_images * len(strengths)
    found = Counter(pairs(num_images, strengths, range(2 * period)))
    assert len(found) == period
    assert set(found.values()) == {2}


def test_the_first_few_have_all_strengths_and_different_images():
    first = pairs(5, (0.2, 0.5, 0.7), range(5))
    assert len({image for image, _ in first}) == 5
    assert [strength for _, strength in first] == [0.2, 0.5, 0.7, 0.2, 0.5]


def test_a_start_depends_on_its_index_alone():
    assert pairs(5, (0.2, 0.5), range(8, 13)) == pairs(5, (0.2, 0.5), range(13))[8:]


def test_the_order_is_that_of_the_seed():
    orders = {tuple(s.image.id for s in starts_of(IMAGES, (0.5,), seed, range(5))) for seed in range(20)}
    assert len(orders) > 10
