"""CLIP and DINOv2 with random weights against transformers' own whole models, and what is said about wrong folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerti.features.backbones import load_backbone, verify_weights
from flowerti.features.extraction import extract
from flowerti.features.transformer_backbones import folder_of, text_features

SIZE_PX = 28


def images(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


def normalised(levels: np.ndarray, mean: list[float], std: list[float]) -> torch.Tensor:
    unit = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    return (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    words = [*(chr(i) for i in range(97, 123)), *(f"{chr(i)}</w>" for i in range(97, 123))]
    vocab = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[], model_max_length=16)
    tokenizer.save_pretrained(folder)
    text = {"vocab_size": len(vocab), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text |= {"projection_dim": 8, "num_attention_heads": 2, "max_position_embeddings": 16}
    text["eos_token_id"] = vocab["<|endoftext|>"]
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"projection_dim": 8, "image_size": SIZE_PX, "patch_size": 14}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE_PX, patch_size=14, mlp_ratio=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    return folder


def test_clip_features_are_those_of_the_whole_model(clip_folder):
    from transformers import CLIPVisionModelWithProjection

    backbone = load_backbone("clip", str(clip_folder), SIZE_PX)
    shown = images(3)
    inputs = normalised(shown, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    with torch.inference_mode():
        expected = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()(inputs).image_embeds
    np.testing.assert_allclose(extract(backbone, shown), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert backbone.dim == 8
    assert len(backbone.weights_sha256) == 64


def test_clip_texts_lie_in_the_space_of_its_images(clip_folder):
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    texts = ["a rose", "one lily"]
    ids = CLIPTokenizer.from_pretrained(clip_folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = CLIPTextModelWithProjection.from_pretrained(clip_folder).eval()(**ids).text_embeds
    found = text_features(texts, clip_folder)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found[0], found[1])


def test_dino_features_are_the_normalised_class_token(dino_folder):
    from transformers import Dinov2Model

    shown = images(2)
    inputs = normalised(shown, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = Dinov2Model.from_pretrained(dino_folder).eval()(inputs).last_hidden_state[:, 0]
    found = extract(load_backbone("dinov2", str(dino_folder), SIZE_PX), shown)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_folder_without_weights_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"scoring.weights: .* has no config.json"):
        verify_weights("clip", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no model.safetensors"):
        verify_weights("dinov2", str(tmp_path))


def test_a_name_that_cannot_be_fetched_says_what_to_fetch(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"hf download facebook/dinov2-base"):
        folder_of("dinov2", "")


def test_weights_of_another_network_are_refused(dino_folder, tmp_path):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((dino_folder / file).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(ValueError, match="does not hold a 'dinov2' network"):
        load_backbone("dinov2", str(tmp_path), SIZE_PX)
