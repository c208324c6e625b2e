"""How every figure of the report is drawn: one width, one style, one bundled font, and the same bytes every time.

No dates and no pyplot. This module knows nothing about what is drawn.
"""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageFont

WIDTH_PX = 1080
"""Width of every chart."""
DPI = 150
LINE_COLOUR = "#0072b2"
MARK_COLOUR = "#d55e00"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    # Class names are data: a dollar sign in one must not be read as mathematics.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def render(draw: Callable[[Figure], None], height_px: int) -> bytes:
    """Let `draw` fill a figure of the common width, and return it as PNG bytes without metadata."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return png_of(Image.open(buffer))


def png_of(image: Image.Image) -> bytes:
    """PNG bytes of an image, without metadata."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


def drawable(text: str, max_length: int) -> str:
    """Cut a name to `max_length` and put "?" for what the bundled font lacks."""
    known = "".join(c if _glyphs().get_char_index(ord(c)) else "?" for c in text)
    short = known if len(known) <= max_length else known[: max_length - 1] + "…"
    # matplotlib leaves a label with a leading underscore out of the legend.
    return f" {short}" if short.startswith("_") else short


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """The bundled font for labels beside images."""
    return ImageFont.truetype(_font_path(), size_px)


@cache
def _font_path() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def _glyphs() -> FT2Font:
    return FT2Font(_font_path())
