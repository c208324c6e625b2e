"""The configs of a base's parts: of a kind that is supported, and fitting one another in channels and widths.

Pixels are counted here as well: the resolution that a base was made for. This module reads JSON alone; it needs neither
torch nor diffusers and does not look into weights.
"""

from pathlib import Path
from typing import Any

from flowerti.base_checks.json_files import Settings, quoted, read_object, refused

_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
_FAMILIES = "Stable Diffusion 1.x, 2.x or SDXL"
_SUPPORTED = f"{_FAMILIES}, saved as " + " or ".join(_PIPELINES)
_UNET = {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 1280, "_class_name": "UNet2DConditionModel"}
_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [64],
    "scaling_factor": 0.18215,
}
_TINY_VAE = _VAE | {"decoder_block_out_channels": [64] * 4, "scaling_factor": 1.0}
_TEXT = {"hidden_size": 512, "vocab_size": 49408, "max_position_embeddings": 77, "projection_dim": 512}
_SCHEDULER = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
"""Defaults of diffusers and transformers, for what a file lacks."""
_NUM_TIME_IDS = 6
"""SDXL's sizes and crop beside the pooled text."""


def check_pipeline(folder: Path) -> None:
    """Check that a folder holds a pipeline of a family that is supported.

    Raises:
        ValueError: it is no pipeline, or another one; says which are supported.
    """
    if not (folder / "model_index.json").is_file():
        config = folder / "config.json"
        kind = read_object(config).get("_class_name") if config.is_file() else None
        if kind:
            raise refused(folder, f"is a {quoted(str(kind))} alone, which is not supported: use {_SUPPORTED}")
        raise refused(folder, "has no model_index.json: it is not a diffusers pipeline")
    name = read_object(folder / "model_index.json").get("_class_name")
    if name not in _PIPELINES:
        raise refused(folder, f"is a {quoted(str(name))}, which is not supported: use {_SUPPORTED}")


def check_configs(folder: Path, parts: tuple[str, ...]) -> None:
    """Check every JSON file of the parts, and the configs against each other.

    Args:
        folder: of the base.
        parts: sub-folders that make it up; all are there.

    Raises:
        ValueError: a file is no JSON, or asks for what is not supported or does not fit; names it.
    """
    for part in parts:
        for path in sorted((folder / part).glob("*.json")):
            read_object(path)
    texts = text_settings(folder, parts)
    _check_channels(folder)
    _check_unet(folder, texts)
    _check_scheduler(Settings(folder / "scheduler" / "scheduler_config.json", _SCHEDULER))


def text_settings(folder: Path, parts: tuple[str, ...]) -> list[Settings]:
    """The configs of the one or two text encoders, which must be CLIP's."""
    names = [part for part in parts if part.startswith("text_encoder")]
    found = [Settings(folder / name / "config.json", _TEXT) for name in names]
    for one in found:
        one.one_of("model_type", (None, "clip_text_model", "clip"))
    return found


def _vae_settings(folder: Path) -> Settings:
    path = folder / "vae" / "config.json"
    return Settings(path, _TINY_VAE if read_object(path).get("_class_name") == "AutoencoderTiny" else _VAE)


def _check_channels(folder: Path) -> None:
    vae, unet = _vae_settings(folder), Settings(folder / "unet" / "config.json", _UNET)
    for name in ("in_channels", "out_channels"):
        if vae.count(name) != 3:
            raise refused(vae.path, f"says {name} {vae.get(name)}: only autoencoders of RGB images (3) are supported")
        if unet.count(name) != vae.count("latent_channels"):
            raise refused(
                unet.path,
                f"says {name} {unet.get(name)}, vae/config.json latent_channels {vae.get('latent_channels')}: "
                "they must be equal (a U-Net for inpainting or upscaling is not supported)",
            )
    vae.number("scaling_factor", 0.0, float("inf"))
    vae.absent("shift_factor", "latents_mean", "latents_std")


def _check_unet(folder: Path, texts: list[Settings]) -> None:
    unet = Settings(folder / "unet" / "config.json", _UNET)
    unet.one_of("_class_name", ("UNet2DConditionModel",))
    unet.count("sample_size")
    unet.absent("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim")
    width = sum(text.count("hidden_size") for text in texts)
    asked = unet.get("cross_attention_dim")
    if any(one != width for one in (asked if isinstance(asked, list) and asked else [asked])):
        sources = " + ".join(f"{text.path.parent.name}/config.json" for text in texts)
        raise refused(
            unet.path, f"says cross_attention_dim {quoted(repr(asked))}, but hidden_size of {sources} makes {width}"
        )
    if len(texts) == 1:
        unet.absent("addition_embed_type")
        return
    unet.one_of("addition_embed_type", ("text_time",))
    pooled = texts[1].count("projection_dim") + _NUM_TIME_IDS * unet.count("addition_time_embed_dim")
    if unet.count("projection_class_embeddings_input_dim") != pooled:
        given = unet.get("projection_class_embeddings_input_dim")
        problem = (
            f"says projection_class_embeddings_input_dim {given}, but projection_dim of text_encoder_2/config.json"
        )
        raise refused(unet.path, f"{problem} and {_NUM_TIME_IDS} x addition_time_embed_dim make {pooled}")


def _check_scheduler(scheduler: Settings) -> None:
    name = scheduler.get("_class_name")
    if name is not None and str(name).startswith("FlowMatch"):
        raise refused(scheduler.path, f"is a {quoted(str(name))}: flow matching is not supported, use {_FAMILIES}")
    scheduler.one_of("prediction_type", (None, "epsilon", "v_prediction", "sample"))
    scheduler.count("num_train_timesteps")
    if scheduler.get("trained_betas") is None:
        scheduler.one_of("beta_schedule", ("linear", "scaled_linear", "squaredcos_cap_v2"))
        scheduler.number("beta_end", scheduler.number("beta_start", 0.0, 1.0), 1.0)


def resolution_px(folder: Path) -> int:
    """Side of the square images that a base draws, in pixels.

    Raises:
        ValueError: its configs do not say; names the file.
    """
    vae = _vae_settings(folder)
    name = "decoder_block_out_channels" if vae.get("decoder_block_out_channels") else "block_out_channels"
    blocks: Any = vae.get(name)
    if not isinstance(blocks, list) or not blocks:
        raise refused(vae.path, f"says {name} {quoted(repr(blocks))}, which must be a list of channels")
    return Settings(folder / "unet" / "config.json", _UNET).count("sample_size") * 2 ** (len(blocks) - 1)


def check_image_size(folder: Path, image_size_px: int) -> None:
    """Check that a base learns from images of the size at which it draws.

    Args:
        folder: of a base that was checked.
        image_size_px: side of the square images that it is to learn from.

    Raises:
        ValueError: the sizes differ.
    """
    own = resolution_px(folder)
    if image_size_px != own:
        raise ValueError(
            f"data.image_size_px: {image_size_px} px, but the base draws at {own} px (sample_size of "
            f"{folder / 'unet' / 'config.json'}): set data.image_size_px to {own}"
        )
