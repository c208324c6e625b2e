"""What follows from a source's row."""

from flowerti.tables.sources import SOURCES, default_sources

EARLIER = ("raw", "alternative_name", "latin_name", "token", "lora")


def test_the_sources_from_before_modes_are_as_they_were():
    assert SOURCES.names[: len(EARLIER)] == EARLIER
    assert default_sources() == EARLIER[:4]
    for name in EARLIER:
        source = SOURCES[name]
        assert (source.mode, source.has_noisy_token, source.has_contexts) == ("text_to_image", False, False)
        assert source.is_per_learning == bool(source.technique)


def test_what_starts_from_training_images_has_images_of_each_learning():
    assert {s.name for s in SOURCES if s.starts_from_images and not s.technique} == {"round_trip", "raw_img2img"}
    assert all(source.is_per_learning for source in SOURCES if source.starts_from_images)
    assert not SOURCES["round_trip"].has_steps and not SOURCES["round_trip"].has_strength
    assert [s.name for s in SOURCES if s.has_strength] == [
        "raw_img2img", "token_img2img", "lora_img2img", "token_inter_class",
    ]  # fmt: skip


def test_colours_are_told_apart():
    colours = [source.colour for source in SOURCES]
    assert len(set(colours)) == len(colours)


def test_rivals_are_sources():
    assert all(rival in SOURCES for source in SOURCES for rival in source.rivals)
