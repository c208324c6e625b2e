"""The lines of Python that load an exported token or adapter, as a model card shows them.

They run in the folder that the card lies in. This module does not know what was learnt.
"""

from flowerti.config.sampling import SamplingConfig
from flowerti.export.class_words import trigger_of


def snippet(base_model: str, word: str, sampling: SamplingConfig, *, is_xl: bool, adapter_file: str = "") -> str:
    """Lines that draw an image with a token, and with an adapter where there is one, with the run's settings.

    Args:
        base_model: the base's name on the Hub, or a folder.
        word: the token's word.
        sampling: prompt, steps and guidance of the run.
        is_xl: whether the base has two text encoders.
        adapter_file: an adapter on top; empty for none.
    """
    lines = [*_load_base(base_model, is_xl), *_load_token(word, is_xl)]
    if adapter_file:
        lines.append(f'pipeline.load_lora_weights(".", weight_name="{adapter_file}")  # needs peft')
    prompt = sampling.prompt.format(trigger_of(word))
    settings = f"num_inference_steps={sampling.num_inference_steps}, guidance_scale={sampling.guidance_scale}"
    return "\n".join([*lines, f"image = pipeline({prompt!r}, {settings}).images[0]"])


def _load_base(base_model: str, is_xl: bool) -> list[str]:
    # diffusers would take the precision that the files have; half of it moves text states by some thousandths
    name = "StableDiffusionXLPipeline" if is_xl else "StableDiffusionPipeline"
    imports = ["import torch", f"from diffusers import {name}"]
    if is_xl:
        imports.append("from safetensors.torch import load_file")
    return [*imports, "", f'pipeline = {name}.from_pretrained("{base_model}", dtype=torch.float32)']


def _load_token(word: str, is_xl: bool) -> list[str]:
    if not is_xl:
        return [f'pipeline.load_textual_inversion("{word}.safetensors")']
    given = f'token="{trigger_of(word)}"'
    return [
        f'rows = load_file("{word}.safetensors")',
        f'pipeline.load_textual_inversion(rows["clip_l"], {given}, text_encoder=pipeline.text_encoder, '
        "tokenizer=pipeline.tokenizer)",
        f'pipeline.load_textual_inversion(rows["clip_g"], {given}, text_encoder=pipeline.text_encoder_2, '
        "tokenizer=pipeline.tokenizer_2)",
        "# older configs take the highest id for the prompt's end, which the new token has",
        "pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id",
    ]
