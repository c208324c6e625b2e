"""Rows from outside: one source, technique, arm, metric and data source that the package has never heard of.

All five are made in this file, which is also the plugin: `register` adds them, in the run's own process and in every
worker. The run is a process of its own, so that the tables of the other tests stay as they are.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from flowerti.artifacts.identity import seed_for
from flowerti.config.data_sources import DATA_SOURCES, DataSource
from flowerti.config.experiment import to_json
from flowerti.config.schedule import ScheduleConfig
from flowerti.config.techniques import TECHNIQUES, Technique
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.sources import implementation as data_implementation
from flowerti.personalization import technique as personalization
from flowerti.scoring.metric_table import METRICS, Metric
from flowerti.tables.arms import ARMS, Arm
from flowerti.tables.sources import SOURCES, Source

pytestmark = pytest.mark.ray
ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
PLUGIN = "test_plugins:register"
CLASSES = ("stripes across", "stripes down", "squares", "dots")


# a data source: patterns that are drawn by rule


def list_patterns(_config: Any, seed: int) -> Dataset:
    records = [
        Record(f"{name}/{split}/{i}", class_id, split, f"pattern:{name}:{seed_for(seed, name, split, i)}")
        for class_id, name in enumerate(CLASSES)
        for split in SPLITS
        for i in range(3 + class_id if split == "train" else 5)
    ]
    return Dataset(CLASSES, tuple(records))


def draw_pattern(address: str, size_px: int) -> np.ndarray:
    _, name, seed = address.split(":")
    rng = np.random.default_rng(int(seed))
    down, across = np.mgrid[:size_px, :size_px] / size_px * rng.uniform(15, 30) + rng.uniform(0, 6, (2, 1, 1))
    waves = {
        "stripes across": np.sin(down),
        "stripes down": np.sin(across),
        "squares": np.sign(np.sin(down) * np.sin(across)),
        "dots": np.cos(down) + np.cos(across),
    }
    # a colour field of its own, so that no two images of a class show the same
    field = np.kron(rng.normal(0, 40, (4, 4, 3)), np.ones((-(-size_px // 4), -(-size_px // 4), 1)))[:size_px, :size_px]
    values = 128 + 50 * waves[name][..., None] * rng.uniform(0.5, 1, 3) + field
    return values.clip(0, 255).astype(np.uint8)


PATTERNS = data_implementation.Implementation(
    list_records=list_patterns,
    images=data_implementation.ImageReader(
        identify=lambda address: address.encode(), stamp_of=lambda address: address, draw=draw_pattern
    ),
)


# a technique: one number by which the U-Net's cross attention is scaled, on top of the token


@dataclass(frozen=True, kw_only=True, slots=True)
class GainConfig(ScheduleConfig):
    section: ClassVar[str] = "gain"


@contextmanager
def scaled(base: Any, gain: torch.Tensor) -> Iterator[None]:
    layers = [module for name, module in base.unet.named_modules() if name.endswith("attn2")]
    assert layers
    handles = [layer.register_forward_hook(lambda _m, _i, output: output * (1 + gain.sum())) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gain_losses(base: Any, images: Any) -> Any:
    from flowerti.personalization.lora.technique import LORA

    plain = LORA.losses(base, images)  # its loss runs the U-Net on the token's captions; the hooks say what is learnt
    no_adapter = LORA.start(base, images[0], TECHNIQUES["lora"].config, "", 0).detach()

    def losses(base: Any, learnt: list[torch.Tensor], *rest: Any) -> Any:
        with scaled(base, learnt[0]):
            return plain(base, [no_adapter], *rest)

    return losses


@contextmanager
def gain_applied(base: Any, content: Any) -> Iterator[Any]:
    from safetensors.torch import load

    with scaled(base, load(content.files["gain.safetensors"])["gain"]):
        yield base


def gain_bytes(_base: Any, learnt: torch.Tensor, _class_name: str) -> dict[str, bytes]:
    from safetensors.torch import save

    return {"gain.safetensors": save({"gain": learnt.detach().cpu().contiguous()})}


GAIN = personalization.Implementation(
    check=lambda folder, config: None,
    start=lambda base, images, config, class_name, seed: torch.zeros(1, 1, device=base.device),
    losses=gain_losses,
    export=gain_bytes,
    apply=gain_applied,
    details=lambda config: {"layers": "attn2"},
)


def register() -> None:
    """Add the five rows."""
    DATA_SOURCES.add(
        DataSource(
            name="patterns",
            label="drawn patterns",
            prefix="pattern:",
            needs_root=False,
            is_drawn=True,
            implementation="test_plugins:PATTERNS",
        )
    )
    TECHNIQUES.add(
        Technique(
            name="gain",
            label="gains",
            config=GainConfig(),
            implementation="test_plugins:GAIN",
            seed_name="gain",
            needs="textual_inversion",
        )
    )
    SOURCES.add(
        Source(
            name="gained",
            label="token with more attention",
            colour="#8800aa",
            words=lambda names: names.token,
            technique="gain",
            rivals=("token",),
        )
    )
    ARMS.add(
        Arm(
            name="gained_balanced",
            label="more attention, balanced",
            source="gained",
            level="ratio",
            control="balanced",
            is_balanced=True,
        )
    )
    METRICS.add(Metric(name="mean_gap", label="gap of means", function=mean_gap, taken="all"))


def mean_gap(real: np.ndarray, synthetic: np.ndarray) -> float:
    return float(np.linalg.norm(real.mean(axis=0) - synthetic.mean(axis=0)))


# the run


def config_text(base: Path) -> str:
    """The tiny run with all five; written as text, for this process does not know the rows."""
    from tiny_run import tiny_experiment

    tiny = tiny_experiment(base)
    values = json.loads(to_json(replace(tiny, sweep=replace(tiny.sweep, ratios=(1.0,)))))
    values["plugins"] = [PLUGIN]
    values["data"]["kind"] = "patterns"
    values["selection"]["num_classes"] = 2
    values["techniques"]["gain"] = values["techniques"]["lora"] | {"num_steps": 8, "learning_rate": 0.05}
    del values["techniques"]["gain"]["rank"]
    values["sampling"]["sources"] = ["raw", "token", "gained"]
    values["sweep"]["extra_arms"] = ["gained_balanced"]
    return json.dumps(values)


def flowerti(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "FLOWERTI_PLUGINS": ""}
    command = [sys.executable, "-m", "flowerti.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "config.json").write_text(config_text(tiny_base))
    done = flowerti("run", "--config", str(folder / "config.json"), "--run-dir", str(folder / "run"))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder / "run"


def test_all_five_are_in_the_summary(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["failures"] == []
    assert summary["settings"]["data_kind"] == "patterns"
    weak = {row["class_name"] for row in summary["selected"]}
    assert weak == set(CLASSES[:2])
    gains = [row for row in summary["learned"] if row["technique"] == "gain"]
    assert {row["class_name"] for row in gains} == weak
    assert all(row["num_parameters"] == 1 and row["num_steps"] == 8 for row in gains)
    assert {"name": "gain", "label": "gains"} in summary["techniques"]
    assert {(row["class_name"], row["source"]) for row in summary["sets"]} >= {(name, "gained") for name in weak}
    gaps = [row for row in summary["distances"] if row["metric"] == "mean_gap"]
    assert {(row["source"], row["reference"]) for row in gaps} >= {("gained", "validation"), ("gained", "test")}
    assert all(row["value"] > 0 for row in gaps)
    assert ("gained", "token") in {(row["closer"], row["than"]) for row in summary["comparisons"]}
    arms = {(row["split"], row["arm"]) for row in summary["sweep"]}
    assert {(split, arm) for split in ("validation", "test") for arm in ("gained", "gained_balanced")} <= arms
    assert {row["arm"] for row in summary["arm_costs"] if row["hours"] > 0} >= {"gained", "gained_balanced"}


def test_what_was_learnt_changed_what_was_drawn(run: Path):
    """The same seeds and words with and without the technique, read from the shards."""
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    for folder in sorted((run / "concepts").iterdir()):
        assert float(load_file(folder / "gain.safetensors")["gain"].abs().sum()) > 0
    images = {
        source: [row["bytes"] for file in sorted(run.glob(f"synthetic/*.{source}.*.parquet"))
                 for row in pq.read_table(file).column("image").to_pylist()]
        for source in ("token", "gained")
    }  # fmt: skip
    assert len(images["token"]) == len(images["gained"]) > 0
    assert images["token"] != images["gained"]


def test_all_five_are_on_the_page(run: Path):
    page = (run / "report.html").read_text()
    said = ("patterns", "Gains", "token with more attention", "more attention, balanced", "gap of means")
    assert [text for text in said if text not in page] == []


def test_all_five_are_in_the_plan(run: Path):
    config = str(run / "config.json")
    asked = ["plan", "--config", config, "--num-classes", "2", "--num-gpus", "1", "--from-run", str(run)]
    done = flowerti(*asked)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "patterns data" in rows["classify"]
    assert "gains" in rows["personalize.gain"]
    assert "gained" in rows["sample"]
    assert "mean_gap" in rows["score"]
    assert "gained_balanced" in rows["sweep"]
    num_run = len(list((run / "sweep/trials").glob("*.json")))
    num_planned = int(rows["sweep"].split()[1])
    # the two stacked arms are run where a control beats real images alone: two trials a seed each
    assert num_planned - num_run in (0, 2 * 2 * 2)


def test_a_run_goes_on_where_it_was_with_its_own_plugins(run: Path):
    """Named by nobody: they stand in the run's config."""
    before = (run / "summary.json").read_bytes()
    done = flowerti("run", "--run-dir", str(run))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (run / "summary.json").read_bytes() == before
