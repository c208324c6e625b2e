"""What the README shows in Python runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


def test_the_token_that_it_loads_changes_the_picture(monkeypatch):
    import torch

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    shown: dict = {}
    with torch.random.fork_rng(devices=[]):
        exec(block, shown)  # our own text
        assert shown["picture"].size == (64, 64)
        learnt = _draw(shown["pipeline"])
        shown["pipeline"].unload_textual_inversion()
        unlearnt = _draw(shown["pipeline"])
    assert np.abs(learnt - unlearnt).mean() > 4


def _draw(pipeline: Any) -> np.ndarray:
    """The same prompt from the same noise."""
    import torch

    noise = torch.Generator().manual_seed(0)
    drawn = pipeline('Photo of a "<velmora>"', num_inference_steps=10, guidance_scale=1.5, generator=noise).images[0]
    return np.asarray(drawn, dtype=float)
