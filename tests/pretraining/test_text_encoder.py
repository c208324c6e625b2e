"""Captions against features: the loss against PyTorch's cross-entropy, the training against planted pairs."""

import pytest
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from flowerti.progress import Progress
from pretraining.text_encoder import TextTraining, contrastive_loss, train_text_encoder

END = 9


def test_the_loss_of_distinct_captions_is_clips():
    generator = torch.Generator().manual_seed(0)
    texts, images = (torch.randn(5, 7, generator=generator) for _ in range(2))
    logits = 10.0 * nn.functional.cosine_similarity(texts[:, None], images[None], dim=2)
    labels = torch.arange(5)
    clip = 0.5 * (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels))
    torch.testing.assert_close(contrastive_loss(texts, images, torch.eye(5)), clip)


def test_images_of_the_same_caption_are_no_negatives():
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    is_same = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    # each of the two equal captions can do no better than one half for either image
    right = contrastive_loss(texts, texts, is_same)
    assert float(right) == pytest.approx(2.0 / 3.0 * 0.6931472, abs=1e-3)
    assert float(contrastive_loss(texts, texts, torch.eye(3))) == pytest.approx(float(right), abs=1e-6)
    wrong = contrastive_loss(texts, texts[[0, 2, 1]], is_same)
    assert float(wrong) > float(right) + 1.0


def test_a_caption_finds_its_image_after_training():
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=10,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=6,
        bos_token_id=8,
        eos_token_id=END,
        pad_token_id=END,
    )
    encoder = CLIPTextModel(config)
    words = torch.arange(8)
    ids = torch.stack([torch.full_like(words, 8), words, *[torch.full_like(words, END)] * 4], dim=1)
    features = torch.eye(8) * 3.0

    def nearest() -> list[int]:
        with torch.no_grad():
            texts = encoder(ids).pooler_output
        centred = nn.functional.normalize(texts - texts.mean(dim=0), dim=1)
        return [int((centred[i] @ centred.T > 0.8).sum()) for i in range(8)]

    reports = []
    training = TextTraining(num_steps=150, batch=8, rate=3e-3, seed=1)
    train_text_encoder(encoder, ids[:, None], features, training, Progress("", [reports.append]))
    assert reports[-1].step == 149
    # chance is log 8 = 2.08; cosines at most 1 apart leave a little
    assert reports[-1].value < 0.5 < reports[0].value
    assert nearest() == [1] * 8
