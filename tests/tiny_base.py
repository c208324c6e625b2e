"""Writes tiny text-to-image bases in the folder layouts of Stable Diffusion 1.5, 2.x and SDXL."""

import json
from pathlib import Path

TINY_WORDS = (
    "a photo picture of the flower one close up bright dark cropped good cool clean rendition - lily rose azalea "
    "red plant blossom"
).split()
"""Words that are one token of the tiny base."""

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def save_tiny_base(folder: Path, prediction_type: str | None, seed: int, text_gain: float) -> None:
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae, text_encoder, unet = _tiny_networks()
    for name, parameter in unet.named_parameters():
        if "attn2.to_out" in name:
            parameter.data *= text_gain
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    text_encoder.config.save_pretrained(folder / "text_encoder")
    # the names that transformers gave them when Stable Diffusion 1.5 was saved
    weights = {f"text_model.{name}": value for name, value in text_encoder.state_dict().items()}
    save_file(weights, folder / "text_encoder" / "model.safetensors", {"format": "pt"})
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    scheduler = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    if prediction_type is not None:
        scheduler["prediction_type"] = prediction_type
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _write_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write_json(folder / "model_index.json", index)


def make_xl(folder: Path, seed: int, text_gain: float) -> None:
    """Turn a tiny base into SDXL's layout: a second, wider text encoder, and a U-Net that takes both."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(_tiny_vocabulary()[0]),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=20,
        # as in SDXL's own file, where they are not the tokenizer's ids
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 100)
        text_encoder = CLIPTextModelWithProjection(config)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=(2, 4),
            cross_attention_dim=16 + 24,
            norm_num_groups=4,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=20 + 6 * 8,
        )
    for name, parameter in unet.named_parameters():
        if "attn2.to_out" in name:
            parameter.data *= text_gain
    text_encoder.save_pretrained(folder / "text_encoder_2", safe_serialization=True)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    _write_tokenizer(folder / "tokenizer_2", padding="!")
    index = json.loads((folder / "model_index.json").read_text())
    for name in ("safety_checker", "requires_safety_checker"):
        del index[name]
    index |= {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    _write_json(folder / "model_index.json", index)


def replace_autoencoder(folder: Path, seed: int) -> None:
    import shutil

    import torch
    from diffusers import AutoencoderTiny

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(4, 4, 4),
            decoder_block_out_channels=(4, 4, 4),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        )
    shutil.rmtree(folder / "vae")
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    index = json.loads((folder / "model_index.json").read_text())
    _write_json(folder / "model_index.json", index | {"vae": ["diffusers", "AutoencoderTiny"]})


def _tiny_networks():
    """32 px images, 4 x 8 x 8 latents, text width 16."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=32,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    )
    text_config = CLIPTextConfig(
        vocab_size=len(_tiny_vocabulary()[0]),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        # as in Stable Diffusion 1.5's own file, where they are not the tokenizer's ids
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return vae, CLIPTextModel(text_config), unet


def _byte_letters() -> list[str]:
    """CLIP's printable stand-ins of the 256 bytes, in the order of its vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = len(set(range(256)) - set(printable))
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(others)]


def _tiny_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Byte letters, letters that end a word, one merge after another up to every word of TINY_WORDS, specials last."""
    letters = _byte_letters()
    merges: list[str] = []
    for word in TINY_WORDS:
        left = word[0]
        for i, letter in enumerate(word[1:], start=2):
            right = f"{letter}</w>" if i == len(word) else letter
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
            left += right
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    entries = [*entries, *_SPECIAL]
    assert len(set(entries)) == len(entries)
    return {entry: i for i, entry in enumerate(entries)}, merges


def _write_tokenizer(folder: Path, padding: str = _SPECIAL[1]) -> None:
    vocabulary, merges = _tiny_vocabulary()
    start, end = _SPECIAL

    def added(content: str) -> dict[str, object]:
        return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    specials = {"bos_token": added(start), "eos_token": added(end), "pad_token": padding, "unk_token": added(end)}
    _write_json(folder / "special_tokens_map.json", specials)
    settings = {
        "add_prefix_space": False,
        "bos_token": {"__type": "AddedToken", **added(start)},
        "do_lower_case": True,
        "eos_token": {"__type": "AddedToken", **added(end)},
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14",
        "pad_token": padding,
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": {"__type": "AddedToken", **added(end)},
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
