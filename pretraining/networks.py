"""The parts of a tiny base model, in the layout of a diffusers `StableDiffusionPipeline`.

Builds the tokenizer and untrained networks, and saves the whole pipeline as one folder. It knows nothing about
training, images or species.
"""

# diffusers and transformers annotate their constructors more narrowly than they are meant
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from jaxtyping import Int64
from tokenizers import Tokenizer, models, normalizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_TOKENS = 32
"""Length of a prompt in tokens, start and end included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSizes:
    """Widths of the networks; the defaults are the shipped base."""

    vae_widths: tuple[int, ...] = (16, 32, 64)
    """Channels of the autoencoder's levels; three levels make a factor of 4."""
    latent_channels: int = 4
    """Channels of a latent."""
    unet_widths: tuple[int, ...] = (48, 96, 128)
    """Channels of the denoiser's levels."""
    text_width: int = 128
    """Width of the text encoder and of cross attention."""
    text_layers: int = 3
    """Layers of the text encoder."""
    sample_px: int = 64
    """Width and height of an image."""

    @property
    def latent_px(self) -> int:
        """Width and height of a latent."""
        return self.sample_px // 2 ** (len(self.vae_widths) - 1)


@dataclass(kw_only=True, slots=True)
class BaseNetworks:
    """The networks of one base model, from which the pipeline is built."""

    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    unet: Any


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses, in the order of GPT-2 and CLIP."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in keep]
    return [chr(byte) for byte in keep] + [chr(256 + i) for i in range(len(moved))]


def build_tokenizer(captions: Iterable[str], max_merges: int = 700) -> CLIPTokenizer:
    """A CLIP tokenizer with its own byte-pair merges, learnt from the captions.

    Args:
        captions: training text; a word that occurs in it more than once becomes one token if merges suffice.
        max_merges: limit on merges, so on the vocabulary (512 byte entries, the merges, two special tokens).

    Returns:
        A tokenizer of the usual CLIP layout, with a model length of `MAX_TOKENS`.
    """
    like = CLIPTokenizer()._tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = like.normalizer or normalizers.Lowercase()
    trained.pre_tokenizer = like.pre_tokenizer
    letters = byte_alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(letters) + max_merges,
        min_frequency=2,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in _merges_of(trained)]
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    entries = [*dict.fromkeys(entries), "<|startoftext|>", "<|endoftext|>"]
    vocab = {entry: i for i, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def _merges_of(tokenizer: Tokenizer) -> list[list[str]]:
    return json.loads(tokenizer.to_str())["model"]["merges"]


def build_vae(sizes: NetworkSizes) -> AutoencoderKL:
    """An untrained autoencoder, whose posterior has a std of exp(-2.5) everywhere."""
    levels, channels = len(sizes.vae_widths), sizes.latent_channels
    vae = AutoencoderKL(
        block_out_channels=sizes.vae_widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=sizes.latent_channels,
        layers_per_block=1,
        norm_num_groups=4,  # with one channel per group, as with 16 groups, the mean colour of an image is lost
        sample_size=sizes.sample_px,
    )
    with torch.no_grad():  # start with a narrow posterior; otherwise its noise dominates the colours for a long time
        vae.quant_conv.weight[channels:] = 0.0
        vae.quant_conv.bias[channels:] = -5.0
    return vae


def build_text_encoder(tokenizer: CLIPTokenizer, sizes: NetworkSizes) -> CLIPTextModel:
    """An untrained text encoder for this vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.text_width,
        intermediate_size=4 * sizes.text_width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=sizes.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_unet(sizes: NetworkSizes) -> UNet2DConditionModel:
    """An untrained denoiser: attention to pixels and words on levels of 3 to 8 pixels, and in the middle.

    At higher resolutions it would dominate the cost, at 2 pixels there are no positions to distinguish.
    """
    attended = [3 <= sizes.latent_px >> level <= 8 for level in range(len(sizes.unet_widths))]
    return UNet2DConditionModel(
        sample_size=sizes.latent_px,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        block_out_channels=sizes.unet_widths,
        down_block_types=tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attended),
        up_block_types=tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attended)),
        layers_per_block=1,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ of order two over Stable Diffusion's noise schedule."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def as_pipeline(base: BaseNetworks) -> StableDiffusionPipeline:
    """The base as a diffusers pipeline (the networks are shared, not copied)."""
    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=build_scheduler(),
        safety_checker=None,  # type: ignore[arg-type]  # diffusers allows it, its annotation does not say so
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_base(
    base: BaseNetworks, folder: Path, notes: Mapping[str, str] | None = None, dtype: torch.dtype = torch.float16
) -> None:
    """Write the pipeline as safetensors and swap it in whole; files of other names are kept.

    Args:
        base: the networks, which are not modified.
        folder: becomes a `StableDiffusionPipeline` folder; its older parts are replaced.
        notes: file name -> content of additional text files.
        dtype: of the saved weights; float32 to resume a training from them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        fresh, old = Path(name, "fresh"), Path(name, "old")
        as_pipeline(_copy_as(dtype, base)).save_pretrained(fresh, safe_serialization=True)
        for weights in fresh.rglob("*.safetensors"):
            weights.chmod(0o644)
        for config in fresh.rglob("config.json"):
            _forget_origin(config)
        for file_name, text in (notes or {}).items():
            (fresh / file_name).write_text(text)
        if folder.exists():
            _keep_others(folder, fresh)
            os.replace(folder, old)
        os.replace(fresh, folder)


def _keep_others(folder: Path, fresh: Path) -> None:
    """Copy what the new folder does not have, such as a model card."""
    for kept in folder.iterdir():
        if not (fresh / kept.name).exists():
            (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, fresh / kept.name)


def _forget_origin(config: Path) -> None:
    """Remove the path that a network was loaded from, a folder on the machine that trained it."""
    settings = json.loads(config.read_text())
    if settings.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_networks(folder: Path) -> BaseNetworks:
    """Reads what `save_base` wrote, in float32."""
    return BaseNetworks(
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        vae=AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval(),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval(),
    )


def tokenize(base: BaseNetworks, captions: list[list[str]]) -> Int64[Tensor, "n k tokens"]:
    """Padded token ids of every caption; the k of an image lie side by side."""
    flat = [caption for group in captions for caption in group]
    ids = base.tokenizer(
        flat, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
    return ids.view(len(captions), -1, MAX_TOKENS)


def start_base(sizes: NetworkSizes, seed: int, vae: AutoencoderKL, captions: list[list[str]]) -> BaseNetworks:
    """A trained autoencoder with an untrained denoiser, text encoder and a tokenizer learnt from the captions."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(caption for group in captions for caption in group)
    return BaseNetworks(
        tokenizer=tokenizer,
        vae=vae,
        text_encoder=build_text_encoder(tokenizer, sizes),
        unet=build_unet(sizes),
    )


def _copy_as(dtype: torch.dtype, base: BaseNetworks) -> BaseNetworks:
    copies = [
        copy.deepcopy(m).to(dtype, memory_format=torch.contiguous_format)
        for m in (base.vae, base.text_encoder, base.unet)
    ]
    return BaseNetworks(tokenizer=base.tokenizer, vae=copies[0], text_encoder=copies[1], unet=copies[2])
