"""Bases in the three layouts, loaded, beside the folders that diffusers' own pipelines read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from diffusers import DPMSolverMultistepScheduler

from flowerti.diffusion import Base, load_base

LAYOUTS = {
    "sd1": {},
    "sd2": {"prediction_type": "v_prediction"},
    "sdxl": {"is_xl": True},
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    name: str
    folder: Path
    base: Base

    def pipeline(self, kind: str) -> Any:
        """diffusers' pipeline of a kind, as "StableDiffusion{XL}{kind}Pipeline", with DPM-Solver++.

        It has the same networks: equal weights at other places in memory may round differently.
        """
        import diffusers

        made = getattr(diffusers, f"StableDiffusion{'XL' if self.name == 'sdxl' else ''}{kind}Pipeline")
        names = ["unet", "vae", "text_encoder", *["text_encoder_2"] * (self.name == "sdxl")]
        pipeline = made.from_pretrained(self.folder, **{name: getattr(self.base, name) for name in names})
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@pytest.fixture(params=LAYOUTS)
def layout(request, make_tiny_base) -> Layout:
    """A base whose images follow the prompt visibly."""
    folder = make_tiny_base(text_gain=8.0, **LAYOUTS[request.param])
    return Layout(name=request.param, folder=folder, base=load_base(folder, "float32", "cpu"))
