"""Each kind of damage is told in one line that names file or field; whole bases of every family pass."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from damaged_base import (
    MISSING,
    TEXT,
    UNET,
    VAE,
    checked,
    cut,
    halved,
    in_shards,
    renamed,
    reshaped,
    setting,
    tensors,
    with_index,
    written,
)

from flowerti.base_files import DEMO_BASE, hash_base

ROOT = Path(__file__).parents[2]
INDEX, SCHEDULE, U, V, T = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
)
WIDE = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
FINAL = "text_model.final_layer_norm.weight"
TOKENS = "tokenizer/tokenizer_config.json"
SHARD = "diffusion_pytorch_model-00002-of-00002.safetensors"
FAMILIES = {
    "1.x": {},
    "2.x": {"prediction_type": "v_prediction"},
    "sdxl": {"is_xl": True},
    "tiny autoencoder": {"is_tiny_vae": True},
}

DAMAGE = {
    # weight files
    "no weights": (lambda folder: (folder / UNET).unlink(), r"unet has no \*\.safetensors file: fetch diffusion_"),
    "pickled": (renamed(TEXT, "pytorch_model.bin"), r"text_encoder has no .*pytorch_model\.bin is a pickle"),
    "checkpoint": (renamed(VAE, "v1-5.ckpt"), r"vae has no .*v1-5\.ckpt is a pickle"),
    "variant alone": (
        renamed(UNET, "diffusion_pytorch_model.fp16.safetensors"),
        r"unet has diffusion_pytorch_model\.fp16\.safetensors, but no .*rename the one",
    ),
    "cut at the end": (cut(UNET, -100), r"unet/diffusion_pytorch_model\.safetensors is cut short"),
    "cut in the header": (cut(VAE, 200), r"vae/diffusion_pytorch_model\.safetensors is cut short"),
    "empty": (cut(TEXT, 0), r"text_encoder/model\.safetensors is cut short"),
    "no safetensors": (
        written(UNET, "<html>" * 50),
        r"unet/diffusion_pytorch_model\.safetensors is cut short or dam",
    ),
    "pointer": (written(UNET, "version https://git-lfs.github.com/spec/v1\noid"), r"is a pointer of Git LFS"),
    "half of the U-Net": (halved(UNET), rf"{UNET} lacks \d+ of the \d+ tensors"),
    "half of the autoencoder": (halved(VAE), rf"{VAE} lacks \d+ of the \d+ tensors"),
    "half of the text encoder": (halved(TEXT), rf"{TEXT} lacks \d+ of the \d+ tensors"),
    "one tensor is missing": (tensors(UNET, lambda c: c.pop("conv_in.bias")), r"lacks 1 of .* such as conv_in\.bias"),
    "surplus": (tensors(VAE, lambda c: c.update(more=torch.ones(2))), rf"{VAE} holds 1 tensors .* such as more"),
    "U-Net of another shape": (
        reshaped(UNET, WIDE, 8, 99),
        r"attn2\.to_k\.weight of shape \[8, 99\], .* for \[8, 16\]",
    ),
    "text of another shape": (reshaped(TEXT, FINAL, 5), r"final_layer_norm\.weight of shape \[5\], .* asks for \[16\]"),
    "whole numbers": (
        tensors(UNET, lambda c: c.update({"conv_in.bias": torch.ones(8, dtype=torch.int8)})),
        r"holds conv_in\.bias as I8: only",
    ),
    "index without a file": (lambda folder: (in_shards(folder).parent / SHARD).unlink(), rf"{SHARD}, which is missing"),
    "index without a map": (
        lambda folder: in_shards(folder).write_text("{}"),
        r"safetensors\.index\.json has no weight_map",
    ),
    "index that leads outside": (
        with_index(lambda places: places.update({"conv_in.bias": "../x.safetensors"})),
        r"index\.json names \.\./x\.safetensors, which is no safetensors file beside it",
    ),
    "index that is wrong": (
        with_index(lambda places: places.update(more=SHARD)),
        rf"index\.json places more in {SHARD}, which lacks it",
    ),
    "shard that is cut": (
        lambda folder: cut(f"unet/{SHARD}", -4)(in_shards(folder).parents[1]),
        rf"unet/{SHARD} is cut short",
    ),
    # JSON
    **{
        f"no JSON in {name}": (written(name, ""), rf"{name} is no readable JSON \(Expecting value")
        for name in (INDEX, SCHEDULE, U, V, T, TOKENS, "tokenizer/vocab.json", "tokenizer/special_tokens_map.json")
    },
    "a list in place of an object": (written(U, "[1]"), r"unet/config\.json holds a JSON list"),
    # families
    "FLUX": (setting(INDEX, "_class_name", "FluxPipeline"), r"is a FluxPipeline, which is not supported: use Stable"),
    "SD3": (setting(INDEX, "_class_name", "StableDiffusion3Pipeline"), r"StableDiffusion3Pipeline, which is not supp"),
    "ControlNet": (
        setting(INDEX, "_class_name", "StableDiffusionControlNetPipeline"),
        r"StableDiffusionControlNetPipeline, which is not supported",
    ),
    "a part alone": (
        lambda folder: (
            (folder / INDEX).unlink(),
            (folder / "config.json").write_text('{"_class_name": "ControlNetModel"}'),
        ),
        r"is a ControlNetModel alone, which is not supported: use Stable",
    ),
    "another U-Net": (setting(U, "_class_name", "UNet3DConditionModel"), r"unet/config\.json says _class_name .*3D"),
    "another text encoder": (setting(T, "model_type", "t5"), r"text_encoder/config\.json says model_type 't5'"),
    # configs
    "inpainting": (setting(U, "in_channels", 9), r"unet/config\.json says in_channels 9, .* latent_channels 4"),
    "latents": (setting(V, "latent_channels", 16), r"unet/config\.json says in_channels 4, .* latent_channels 16"),
    "cross attention": (setting(U, "cross_attention_dim", 32), r"cross_attention_dim 32, but hidden_size .* makes 16"),
    "no sample size": (setting(U, "sample_size", None), r"unet/config\.json says sample_size None"),
    "classes": (setting(U, "num_class_embeds", 10), r"unet/config\.json sets num_class_embeds 10"),
    "scaling": (setting(V, "scaling_factor", float("nan")), r"vae/config\.json says scaling_factor nan"),
    "shift": (setting(V, "shift_factor", 0.1), r"vae/config\.json sets shift_factor 0\.1"),
    "heads": (setting(T, "num_attention_heads", 3), r"text_encoder/config\.json describes no CLIPTextModel"),
    "blocks": (setting(U, "down_block_types", ["None"]), r"unet/config\.json describes no UNet2DConditionModel"),
    "layers": (setting(T, "num_hidden_layers", 3), r"model\.safetensors lacks 16 of the 52 tensors"),
    # noise schedule
    "flow matching": (
        setting(SCHEDULE, "_class_name", "FlowMatchEulerDiscreteScheduler"),
        r"flow matching is not supp",
    ),
    "prediction": (setting(SCHEDULE, "prediction_type", "flow"), r"scheduler_config\.json says prediction_type 'flow'"),
    "schedule": (setting(SCHEDULE, "beta_schedule", "cosine"), r"scheduler_config\.json says beta_schedule 'cosine'"),
    "betas": (setting(SCHEDULE, "beta_end", 0.0001), r"scheduler_config\.json says beta_end 0\.0001, .* in \(0\.00085"),
    "steps": (setting(SCHEDULE, "num_train_timesteps", "1000"), r"scheduler_config\.json says num_train_timesteps '10"),
    "few betas": (
        setting(SCHEDULE, "trained_betas", [0.1, 0.2]),
        r"scheduler_config\.json describes no noise schedule",
    ),
    "no betas": (setting(SCHEDULE, "trained_betas", "abc"), r"scheduler_config\.json describes no noise schedule"),
    # tokenizer
    "id outside the table": (
        setting("tokenizer/vocab.json", "lily", 5000),
        r"vocab\.json gives token 'lily' the id 5000",
    ),
    "id that is no number": (
        setting("tokenizer/vocab.json", "lily", "7"),
        r"vocab\.json gives token 'lily' the id '7'",
    ),
    "small table": (setting(T, "vocab_size", 300), r"vocab\.json gives token .* table of 300 rows"),
    "no words": (written("tokenizer/vocab.json", "{}"), r"vocab\.json has no vocabulary"),
    "merges": (written("tokenizer/merges.txt", "#version: 0.2\na b\nc\n"), r"merges\.txt holds no pair in line 3"),
    "long prompts": (
        setting(TOKENS, "model_max_length", 512),
        r"model_max_length 512, .* up to 77 tokens: set it to 77",
    ),
    "no length": (setting(TOKENS, "model_max_length", MISSING), r"tokenizer_config\.json says model_max_length None"),
    "no end": (
        setting("tokenizer/vocab.json", "<|endoftext|>", MISSING),
        r"says eos_token '<\|endoftext\|>', which the",
    ),
    "no padding": (setting(TOKENS, "pad_token", "<pad>"), r"tokenizer_config\.json says pad_token '<pad>', which the"),
}

XL_DAMAGE = {
    "no second encoder": (setting(INDEX, "text_encoder_2", [None, None]), r"cross_attention_dim 40, .* makes 16"),
    "half of the second": (halved("text_encoder_2/model.safetensors"), r"text_encoder_2/model\.safetensors lacks"),
    "second table": (setting("text_encoder_2/config.json", "vocab_size", 300), r"gives token .* table of 300 rows"),
    "pooled width": (setting("text_encoder_2/config.json", "projection_dim", 21), r"input_dim 68, but .* make 69"),
    "no sizes": (setting(U, "addition_embed_type", None), r"addition_embed_type None, .* must be text_time"),
    "second tokenizer": (
        written("tokenizer_2/tokenizer_config.json", "{"),
        r"tokenizer_2/tokenizer_config\.json is no",
    ),
    "other words": (
        lambda folder: (
            setting("tokenizer_2/vocab.json", "lily", MISSING)(folder),
            setting("tokenizer_2/vocab.json", "rarely", 3)(folder),
        ),
        r"tokenizer_2",
    ),
}


def message_of(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the callers look at the message
        checked(folder)
    message = str(caught.value)
    assert message.startswith(f"base.path: {folder}")
    # how long the folder's own path is, is not the check's doing
    assert "\n" not in message and len(message.replace(str(folder), "")) <= 220, len(message)
    return message


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damage_is_told_by_file_or_field(tiny_base: Path, tmp_path: Path, kind: str):
    damage, expected = DAMAGE[kind]
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    damage(folder)
    with pytest.raises(ValueError, match=expected):
        raise ValueError(message_of(folder))


@pytest.mark.parametrize("kind", list(XL_DAMAGE))
def test_damage_of_sdxl_s_second_parts_is_told(make_tiny_base, tmp_path: Path, kind: str):
    damage, expected = XL_DAMAGE[kind]
    folder = Path(shutil.copytree(make_tiny_base(is_xl=True), tmp_path / "base"))
    damage(folder)
    with pytest.raises(ValueError, match=expected):
        raise ValueError(message_of(folder))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_whole_bases_pass(make_tiny_base, family: str):
    folder = make_tiny_base(**FAMILIES[family])
    before = hash_base(folder)
    assert checked(folder) > 100
    assert hash_base(folder) == before


def test_bases_that_come_with_the_project_pass_and_keep_their_hashes():
    assert checked(DEMO_BASE) == 534
    assert checked(ROOT / "results" / "bases" / "flowers64-base-v2") == 534
    assert hash_base(DEMO_BASE).startswith("407aa2d53cd0")


def test_the_base_of_the_flowers_presets_passes(shared_root: Path):
    assert checked(shared_root / "models" / "flowers64-base") == 566


def test_weights_in_shards_and_with_older_names_pass(tiny_base: Path, tmp_path: Path):
    """As Stable Diffusion 1.5's own files name an autoencoder's attention, and hold a text encoder's positions."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    index = in_shards(folder)
    assert len(set(json.loads(index.read_text())["weight_map"].values())) == 2
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def rename(content: dict) -> None:
        for name in list(content):
            for new, older in old.items():
                if new in name:
                    content[name.replace(new, older)] = content.pop(name)

    tensors(VAE, rename)(folder)
    tensors(TEXT, lambda c: c.update({"text_model.embeddings.position_ids": torch.arange(77)[None]}))(folder)
    assert checked(folder) == checked(tiny_base)
