"""Networks that the preflight refuses: bases without a part, initializers, ranks, backbones and extractors."""

import re
import shutil
from pathlib import Path

import pytest
from damaged_base import UNET, cut, halved, setting, valued, written
from refusals import add_held_out, changed, refusal

from flowerti import study
from flowerti.artifacts import layout
from flowerti.artifacts.records import CheckedBase
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_checks import networks
from flowerti.base_files import PARTS
from flowerti.config.experiment import Experiment, PriorConfig
from flowerti.personalization.unet_weights import num_bytes_in


@pytest.mark.parametrize("missing", [*PARTS, "model_index.json"])
def test_a_base_without_a_part(
    experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, missing: str
):
    folder = tmp_path / "base"
    folder.mkdir()
    for entry in tiny_base.iterdir():
        if entry.name != missing:
            (folder / entry.name).symlink_to(entry)
    message = refusal(changed(experiment, "base", path=str(folder)), run)
    assert message.startswith("base.path: ")
    assert str(folder) in message
    assert missing in message
    (folder / missing).symlink_to(tiny_base / missing)
    study.prepare(changed(experiment, "base", path=str(folder)), run)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "unet"])
def test_a_part_without_weights(experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, part: str):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    for file in (folder / part).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    message = refusal(changed(experiment, "base", path=str(folder)), run)
    assert message.startswith("base.path: ")
    assert f"{folder / part} has no *.safetensors file" in message


DAMAGE = {
    "cut short": (cut(UNET, -8), r"unet/diffusion_pytorch_model\.safetensors is cut short"),
    "half of a part": (halved(UNET), r"unet/diffusion_pytorch_model\.safetensors lacks \d+ of the \d+ tensors"),
    "no JSON": (written("scheduler/scheduler_config.json", ""), r"scheduler_config\.json is no readable JSON"),
    "FLUX": (setting("model_index.json", "_class_name", "FluxPipeline"), "FluxPipeline, which is not supported"),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_a_damaged_base(experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, kind: str):
    damage, expected = DAMAGE[kind]
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    damage(folder)
    assert re.search(expected, refusal(changed(experiment, "base", path=str(folder)), run))


def test_networks_are_built_once_for_each_content_of_a_base(
    experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    wanted, built = changed(experiment, "base", path=str(folder)), list[Path]()
    monkeypatch.setattr(networks, "check_networks", lambda folder, parts: built.append(folder) or 7)
    first = study.prepare(wanted, run)
    assert run.load(layout.CHECKED_BASE, CheckedBase) == CheckedBase(sha256=first.base_sha256, num_tensors=7)
    assert study.prepare(wanted, run) == first
    assert built == [folder], "a resumed run does not build them"
    valued(UNET, "conv_in.bias", 0.5)(folder)
    assert study.prepare(wanted, run).base_sha256 != first.base_sha256
    assert built == [folder, folder]


@pytest.mark.parametrize("size_px", [512, 64, 31, 8])
def test_images_of_another_size_than_the_base_draws(experiment: Experiment, run: RunDirectory, size_px: int):
    asked = changed(experiment, "data", image_size_px=size_px)
    message = refusal(asked, run)
    assert message.startswith(f"data.image_size_px: {size_px} px, but the base draws at 32 px (sample_size of ")
    assert message.endswith("unet/config.json): set data.image_size_px to 32")
    study.prepare(changed(asked, "data", image_size_px=32), run)
    assert run.exists("config.json")


def test_a_base_that_is_no_folder(experiment: Experiment, run: RunDirectory, tmp_path: Path):
    message = refusal(changed(experiment, "base", path=str(tmp_path / "none")), run)
    assert message.startswith("base.path: ")
    assert str(tmp_path / "none") in message


@pytest.mark.parametrize("word", ["sword lily", "zqxj", "flower-lily"])
def test_an_initializer_of_several_tokens(experiment: Experiment, run: RunDirectory, word: str):
    message = refusal(changed(experiment, "textual_inversion", initializer_token=word), run)
    assert message.startswith("textual_inversion.initializer_token: ")
    assert repr(word) in message
    assert "choose a word that is one token" in message


def test_an_initializer_that_no_row_starts_from_is_not_looked_at(experiment: Experiment, run: RunDirectory):
    study.prepare(changed(experiment, "textual_inversion", initializer_token="sword lily", start="nearest"), run)
    assert run.exists("config.json")


def test_a_rank_that_no_layer_of_the_base_has_is_refused_where_adapters_are_asked_for(
    experiment: Experiment, run: RunDirectory
):
    too_large = experiment
    for name in ("lora", "shared_lora"):
        too_large = changed(too_large, name, rank=4096)
        asked = changed(too_large, "sampling", sources=("token", name))
        assert refusal(asked, run).startswith(f"{name}.rank: 4096 is more than ")
    study.prepare(changed(too_large, "sampling", sources=("token",)), run)
    assert run.exists("config.json")


def test_a_fixed_class_that_is_its_own_prior(experiment: Experiment, run: RunDirectory, images: Path):
    for split in ("validation", "test"):
        add_held_out(images, "zinnia", split)
    fixed = changed(experiment, "selection", rule="fixed", class_names=("zinnia",))
    own = changed(fixed, "cross_attention", prior=PriorConfig(noun="Zinnia"))
    asked = changed(own, "sampling", sources=("token", "cross_attention"))
    assert refusal(asked, run).startswith("cross_attention.prior.noun must not be 'Zinnia', the class itself: name ")
    study.prepare(changed(own, "sampling", sources=("token",)), run)
    assert run.exists("config.json")


@pytest.mark.parametrize("num_done", [0, 3])
def test_a_disk_too_small_for_what_would_be_learnt(
    experiment: Experiment, run: RunDirectory, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, num_done: int
):
    asked = changed(experiment, "sampling", sources=("token", "dreambooth"))
    asked = changed(asked, "replication", num_learnings=4)
    for learning in range(num_done):
        run.write_bytes(layout.learned_record("zinnia", "dreambooth", learning), b"{}")
    num_left = 4 - num_done
    # a checkpoint holds four tensors of the size of the result
    needed = 500_000_000 + num_bytes_in(tiny_base, lambda _: True) * (
        num_left + 4 * min(num_left, asked.cluster.num_workers)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**12, 0, needed - 1))
    assert f"{needed // 10**6} MB are needed: free some or choose another disk" in refusal(asked, run)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**12, 0, needed))
    study.prepare(asked, run)


@pytest.mark.parametrize("stage", ["classifier", "scoring"])
def test_a_network_that_is_not_known_or_has_no_weights(experiment: Experiment, run: RunDirectory, stage: str):
    field, as_given = {"classifier": ("backbone", str), "scoring": ("extractors", lambda name: (name,))}[stage]
    message = refusal(changed(experiment, stage, **{field: as_given("resnet9000")}), run)
    assert "'resnet9000'" in message
    assert f"{stage}.{field}" in message
    message = refusal(changed(experiment, stage, weights=as_given("weights/none.pth")), run)
    assert "weights/none.pth" in message
    assert f"{stage}.weights" in message
