"""Marked images: other programs read that and how they were drawn, and see the same pixels."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_export import NUM_DRAWN, SHA256, WEAK, asking, noise

from flowerti.export.exporter import export_run
from flowerti.export.provenance import Drawing, marked_png, parameters_of, xmp_of

DRAWING = Drawing(
    prompt='Photo of a "ti-cafe" & <more>',
    negative_prompt="rose, red",
    seed=2**63 - 1,
    num_steps=20,
    guidance_scale=3.0,
    strength=0.5,
    base="some, base: 1",
    base_sha256=SHA256,
)
SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""How AUTOMATIC1111 reads the last line of its text (modules/infotext_utils.py)."""


def _png(index: int = 0) -> bytes:
    stream = io.BytesIO()
    noise("png", index, 16).save(stream, "PNG")
    return stream.getvalue()


def _description(image: Image.Image) -> dict:
    pytest.importorskip("defusedxml", reason="Pillow reads XMP with it")
    return image.getxmp()["xmpmeta"]["RDF"]["Description"]


def test_pixels_stay_and_bytes_are_the_same_again():
    marked = marked_png(_png(), DRAWING)
    assert marked == marked_png(_png(), DRAWING) != _png()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(marked))), np.asarray(noise("png", 0, 16)))
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(marked_png(marked, DRAWING)))), np.asarray(noise("png", 0, 16))
    )


@pytest.mark.parametrize(
    ("starts_from_image", "kind"), [(False, "trainedAlgorithmicMedia"), (True, "compositeWithTrainedAlgorithmicMedia")]
)
def test_pillow_reads_the_mark(starts_from_image, kind):
    import dataclasses

    drawing = dataclasses.replace(DRAWING, starts_from_image=starts_from_image)
    with Image.open(io.BytesIO(marked_png(_png(), drawing))) as image:
        found = _description(image)
    assert found["DigitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"
    assert found["AIPromptInformation"] == DRAWING.prompt
    assert SHA256 in found["AISystemUsed"]


def test_the_namespace_is_iptcs():
    from xml.etree import ElementTree

    packet = xmp_of(DRAWING)
    root = ElementTree.fromstring(packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")])
    (described,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType" in described.attrib


def test_automatic1111_reads_its_own_form():
    lines = parameters_of(DRAWING, (16, 8)).split("\n")
    assert lines[:2] == [DRAWING.prompt, "Negative prompt: rose, red"]
    found = dict(SETTING.findall(lines[-1]))
    assert len(lines) == 3 and len(found) >= 3, "fewer settings are taken for a prompt"
    assert found == {
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "CFG scale": "3.0",
        "Seed": str(2**63 - 1),
        "Size": "16x8",
        "Model hash": SHA256[:10],
        "Model": '"some, base: 1"',
        "Denoising strength": "0.5",
        "Version": "flowerti",
    }


def test_what_was_not_denoised_has_no_parameters():
    import dataclasses

    drawing = dataclasses.replace(DRAWING, prompt="", num_steps=0)
    with Image.open(io.BytesIO(marked_png(_png(), drawing))) as image:
        assert "parameters" not in image.info
        assert "AIPromptInformation" not in _description(image)


def test_all_images_of_a_run_leave_marked(run, tmp_path: Path):
    (folder,) = export_run(run, str(tmp_path / "out"), asking("images", sources=("token", "raw")))
    files = sorted(folder.rglob("*.png"))
    assert len(files) == len(WEAK) * 2 * NUM_DRAWN
    assert {path.parent.name for path in files} == {"Tulip", "café", "prince_of_wales_feathers%3F", "snow_drop"}
    with Image.open(folder / "café/token-000004.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(noise("café/token", 4, 32)))
        assert image.info["parameters"].startswith('Photo of a "ti-cafe"\nSteps: 4, ')
        assert _description(image)["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    with Image.open(folder / "café/raw-000000.png") as image:
        assert image.info["parameters"].startswith('Photo of a "café"\n')
