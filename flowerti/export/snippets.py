"""The lines of Python that load an exported token or adapter, as a model card shows them.

They run in the folder that the card lies in. This module does not know what was learnt.
"""

from flowerti.export.class_words import trigger_of

_DRAW = """image = pipeline('Photo of a "{trigger}"', num_inference_steps=25).images[0]"""


def token_snippet(base_model: str, word: str, *, is_xl: bool) -> str:
    """Lines that draw an image with a token.

    Args:
        base_model: the base's name on the Hub, or a folder.
        word: the token's word.
        is_xl: whether the base has two text encoders.
    """
    return "\n".join(
        [*_load_base(base_model, is_xl), *_load_token(word, is_xl), _DRAW.format(trigger=trigger_of(word))]
    )


def adapter_snippet(base_model: str, word: str, adapter_file: str, *, is_xl: bool) -> str:
    """Lines that draw an image with a token and an adapter on top; arguments as in `token_snippet`."""
    adapter = f'pipeline.load_lora_weights(".", weight_name="{adapter_file}")  # needs peft'
    lines = [*_load_base(base_model, is_xl), *_load_token(word, is_xl), adapter]
    return "\n".join([*lines, _DRAW.format(trigger=trigger_of(word))])


def _load_base(base_model: str, is_xl: bool) -> list[str]:
    name = "StableDiffusionXLPipeline" if is_xl else "StableDiffusionPipeline"
    imports = [f"from diffusers import {name}"]
    if is_xl:
        imports.append("from safetensors.torch import load_file")
    return [*imports, "", f'pipeline = {name}.from_pretrained("{base_model}")']


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
