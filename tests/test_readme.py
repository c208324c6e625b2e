"""What the README shows in Python runs as it stands there."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def test_a_token_draws_another_picture_than_its_name(monkeypatch):
    import torch

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    shown: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(block, shown)  # our own text
        torch.manual_seed(0)
        by_name = shown["pipeline"]('Photo of a "velmora"', num_inference_steps=10, guidance_scale=1.5).images[0]
    token, name = (np.asarray(picture, dtype=float) for picture in (shown["picture"], by_name))
    assert token.shape == name.shape == (64, 64, 3)
    assert np.abs(token - name).mean() > 4
