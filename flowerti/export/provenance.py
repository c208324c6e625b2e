"""Says in a PNG file that a model drew it, and how: XMP for everyone, `parameters` for AUTOMATIC1111 and its like.

The mark is IPTC's DigitalSourceType (https://cv.iptc.org/newscodes/digitalsourcetype/). Pixels stay as they are. This
module does not know where an image comes from.
"""

import io
import json
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from PIL import Image, PngImagePlugin

XMP_KEYWORD = "XML:com.adobe.xmp"
"""Of the chunk, as XMP's specification (part 3) has it for PNG."""
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SAMPLER = "DPM++ 2M"
"""AUTOMATIC1111's name for `generation.denoise`'s solver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """How an image was drawn."""

    prompt: str
    """With the word that programs know which go by a file's name; empty where it was drawn without one."""
    negative_prompt: str = ""
    seed: int
    num_steps: int
    """0 where nothing was denoised."""
    guidance_scale: float | None = None
    strength: float | None = None
    base: str
    base_sha256: str
    starts_from_image: bool = False
    """Whether a photograph was changed, in place of noise."""


def marked_png(content: bytes, drawing: Drawing) -> bytes:
    """A PNG file's pixels in a new one that says how they came about; the same bytes for the same input."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt(XMP_KEYWORD, xmp_of(drawing))
        if drawing.num_steps:
            notes.add_text("parameters", parameters_of(drawing, image.size))
        stream = io.BytesIO()
        image.save(stream, format="PNG", pnginfo=notes)
    return stream.getvalue()


def xmp_of(drawing: Drawing) -> str:
    """The XMP packet."""
    kind = "compositeWithTrainedAlgorithmicMedia" if drawing.starts_from_image else "trainedAlgorithmicMedia"
    system = f"{drawing.base} (SHA-256 {drawing.base_sha256})" if drawing.base_sha256 else drawing.base
    attributes = {
        "Iptc4xmpExt:DigitalSourceType": _SOURCE_TYPES + kind,
        "Iptc4xmpExt:AISystemUsed": system,
        "xmp:CreatorTool": "flowerti",
    }
    if drawing.prompt:
        attributes["Iptc4xmpExt:AIPromptInformation"] = drawing.prompt
    written = "\n    ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    {written}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def parameters_of(drawing: Drawing, size: tuple[int, int]) -> str:
    """The text that AUTOMATIC1111 writes: prompt, negative prompt, and one line of settings.

    The seed is that of the noise here, which those programs draw otherwise: the text says how an image came about, and
    does not bring back its pixels.
    """
    settings: dict[str, str | int | float] = {"Steps": drawing.num_steps, "Sampler": _SAMPLER}
    if drawing.guidance_scale is not None:
        settings["CFG scale"] = drawing.guidance_scale
    settings |= {"Seed": drawing.seed, "Size": f"{size[0]}x{size[1]}"}
    if drawing.base_sha256:
        settings["Model hash"] = drawing.base_sha256[:10]
    settings["Model"] = drawing.base
    if drawing.strength is not None:
        settings["Denoising strength"] = drawing.strength
    settings["Version"] = "flowerti"
    lines = [drawing.prompt]
    if drawing.negative_prompt:
        lines.append(f"Negative prompt: {drawing.negative_prompt}")
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items())])


def _quoted(value: str | int | float) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",\n:") else text
