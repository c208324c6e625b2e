"""A whole run with 200 weak classes on a real Ray: what the driver holds does not grow with the classes it has learnt.

`pytest -m slow tests/cluster/test_many_classes.py` takes half an hour on one busy core, most of it for the start of
twenty actors.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_experiment

from flowerti.config.experiment import DataConfig, Experiment, SelectionConfig, to_json

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
NUM_CLASSES, NUM_WEAK = 204, 200
MARKS = (50, 100, 150, 200)
_DRIVER = """
import json, sys
import psutil
from flowerti.config.experiment import from_json
from flowerti.pipeline import run_experiment
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.progress import line_of

process = psutil.Process()

def say(text):
    size = {"rss_mib": process.memory_info().rss / 2**20, "num_fds": process.num_fds()}
    print(json.dumps({"said": text, "num_threads": process.num_threads()} | size), flush=True)

config, folder = sys.argv[1:]
listeners = [lambda event: say(line_of(event))]
run_experiment(from_json(open(config).read(), file_name=config), RunDirectory(folder), listeners)
say("end")
"""


def draw_images(folder: Path) -> None:
    """Two images of each weak class for training, four of all else: fewer held-out ones cannot be compared with."""
    rng = np.random.default_rng(0)
    for number in range(NUM_CLASSES):
        colour = rng.integers(0, 200, 3)
        for split in ("train", "validation", "test"):
            place = folder / split / f"class {number:03}"
            place.mkdir(parents=True)
            for i in range(2 if split == "train" and number < NUM_WEAK else 4):
                pixels = colour + rng.integers(0, 55, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")


def many_classes(base: Path, images: Path) -> Experiment:
    tiny = tiny_experiment(base)
    return replace(
        tiny,
        name="many",
        data=DataConfig(kind="image_folder", root=str(images), image_size_px=32),
        selection=SelectionConfig(rule="fewest_images", num_classes=NUM_WEAK),
        techniques={
            "textual_inversion": replace(
                tiny.techniques["textual_inversion"], num_steps=4, eval_every_steps=2, checkpoint_every_steps=4
            )
        },
        sampling=replace(tiny.sampling, num_per_class=2, num_inference_steps=1, sources=("raw", "token")),
        sweep=replace(tiny.sweep, ratios=(1.0,), free_arms=("real",), negative_control=False),
        cluster=replace(tiny.cluster, classes_per_actor=10),
    )


@pytest.mark.timeout(3600)
def test_the_driver_does_not_grow_with_two_hundred_classes(tiny_base, tmp_path, record_property):
    draw_images(tmp_path / "images")
    config, log = tmp_path / "many.json", tmp_path / "log"
    config.write_text(to_json(many_classes(tiny_base, tmp_path / "images")))
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, "-c", _DRIVER, str(config), str(tmp_path / "run")],
            cwd=ROOT,
            stdout=output,
            check=True,
            timeout=3500,
        )
    said = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"said"')]
    learnt = [line for line in said if ": learnt in " in line["said"]]
    assert len(learnt) == NUM_WEAK
    at = {mark: learnt[mark - 1] for mark in MARKS}
    record_property("driver", at)
    print(json.dumps({"marks": at, "end": said[-1]}))
    assert at[200]["rss_mib"] - at[50]["rss_mib"] < 15
    assert at[200]["num_fds"] <= at[50]["num_fds"] + 5
    assert at[200]["num_threads"] <= at[50]["num_threads"] + 5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert len(summary["selected"]) == NUM_WEAK
    assert not any(concept["error"] for concept in summary["concepts"])
