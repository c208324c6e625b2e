"""Recipes of bases: what they hold out by the rule that they state, and what the command makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from flowerti.config.presets import STUDY_CLASSES, UNSEEN_CLASSES
from flowerti.data.sources.flowers102_names import NAMES
from pretraining.allowed_images import AllowedImages
from pretraining.recipe import PretrainConfig
from pretraining.recipes import RECIPES, recipe
from ray_jobs.pretrain_options import read_options

MADE = Path(__file__).parents[2] / "results" / "bases" / "flowers64-base-v2"


def test_the_held_out_classes_are_the_studys_and_nine_that_were_drawn():
    others = sorted(name for name in NAMES if name not in STUDY_CLASSES)
    assert len(others) == 99
    drawn = np.random.default_rng(0).choice(others, 9, replace=False).tolist()
    assert UNSEEN_CLASSES == (*STUDY_CLASSES, *drawn)


def test_the_embedded_base_is_the_defaults():
    assert recipe("embedded").config == PretrainConfig()
    assert recipe("embedded").images == AllowedImages()


def test_the_second_base_on_flowers_sees_the_cut_of_a_resplit_with_seed_0():
    images = recipe("flowers64_v2").images
    assert (images.data.kind, images.data.image_size_px, images.split_seed) == ("flowers102", 64, 0)
    assert images.imbalance.resplit
    assert (images.imbalance.factor, images.imbalance.validation_share, images.imbalance.test_share) == (1.0, 0.2, 0.25)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match=rf"'roses' does not exist.*{', '.join(RECIPES)}"):
        recipe("roses")


def test_options_override_a_recipe():
    wanted = recipe("flowers64_v2")
    options = read_options("--recipe flowers64_v2 --output-dir here --config.steps 7 --data.root there".split())
    assert options.config.steps == 7
    assert options.images.data.root == "there"
    assert options.config.vae == wanted.config.vae
    assert options.images.held_out_classes == wanted.images.held_out_classes
    assert read_options(["--output-dir", "here"]).config == PretrainConfig()


def test_the_kept_base_is_small_and_of_the_recipe():
    files = [path for path in MADE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 24_000_000
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    sizes = recipe("flowers64_v2").config.sizes
    settings = {part: json.loads((MADE / part / "config.json").read_text()) for part in ("vae", "unet", "text_encoder")}
    assert tuple(settings["vae"]["block_out_channels"]) == sizes.vae_widths
    assert settings["vae"]["latent_channels"] == settings["unet"]["in_channels"] == sizes.latent_channels
    assert tuple(settings["unet"]["block_out_channels"]) == sizes.unet_widths
    assert settings["unet"]["sample_size"] == sizes.latent_px == 16
    assert settings["text_encoder"]["hidden_size"] == sizes.text_width


def test_the_kept_base_never_read_the_names_that_were_held_out():
    entries = json.loads((MADE / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "sunflower</w>" in entries
    # words that no other class's name or description has
    words = ("azalea", "canna", "cattleya", "monkshood", "hippeastrum", "daffodil", "columbine", "anthurium")
    assert not [word for word in words if f"{word}</w>" in entries]
    assert all(any(word in name for name in UNSEEN_CLASSES) for word in words)
