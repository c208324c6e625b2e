"""What is missing in a base is named before it is loaded, and its hash is that of its files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowerti.artifacts.training_images import training_images_json
from flowerti.base_files import DEMO_BASE, PARTS, find_training_images, hash_base, verify_base
from flowerti.config.experiment import BaseConfig


@pytest.fixture
def copied_base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def test_verify_base_accepts_a_whole_base(tiny_base):
    assert verify_base(BaseConfig(path=str(tiny_base))) == tiny_base


@pytest.mark.parametrize("part", PARTS)
def test_verify_base_names_a_missing_part(copied_base, part):
    shutil.rmtree(copied_base / part)
    with pytest.raises(ValueError, match=rf"base\.path: .*/{part} has no "):
        verify_base(BaseConfig(path=str(copied_base)))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ],
)
def test_verify_base_names_a_missing_file(copied_base, name):
    (copied_base / name).unlink()
    expected = "*.safetensors" if name.endswith(".safetensors") else Path(name).name
    with pytest.raises(ValueError, match=r"^base\.path: ") as caught:
        verify_base(BaseConfig(path=str(copied_base)))
    assert str((copied_base / name).parent) in str(caught.value)
    assert expected in str(caught.value)


def test_pickled_weights_are_no_weights(copied_base):
    folder = copied_base / "text_encoder"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"text_encoder has no \*\.safetensors"):
        verify_base(BaseConfig(path=str(copied_base)))


def test_a_name_that_is_not_at_hand_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="hf download nobody/no-such-base"):
        verify_base(BaseConfig(path="nobody/no-such-base"))


def test_hash_does_not_depend_on_the_folder(tiny_base, copied_base):
    (copied_base / "README.md").write_text("a note")
    assert hash_base(copied_base) == hash_base(tiny_base)


@pytest.mark.parametrize(
    "name",
    [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    ],
)
def test_hash_changes_with_any_byte(tiny_base, copied_base, name):
    path = copied_base / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert hash_base(copied_base) != hash_base(tiny_base)


def test_an_unknown_autoencoder_is_refused_before_it_is_loaded(copied_base):
    config = copied_base / "vae" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "VQModel"))
    with pytest.raises(ValueError, match=r"class VQModel, which is not supported: .* AutoencoderKL or AutoencoderTiny"):
        verify_base(BaseConfig(path=str(copied_base)))


def test_checking_and_hashing_a_base_loads_no_torch():
    """A plan or a pre-flight check answers at once."""
    code = (
        "import json, sys\n"
        "from flowerti.base_files import hash_base, verify_base\n"
        "from flowerti.config.experiment import BaseConfig\n"
        "print(json.dumps([hash_base(verify_base(BaseConfig(path='demo'))), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == [hash_base(DEMO_BASE), False]


def test_the_list_of_training_images_is_the_config_s_else_the_folder_s_else_unknown(copied_base, tmp_path):
    in_folder, elsewhere = training_images_json(["a" * 64], 32), training_images_json(["b" * 64], 32)
    assert find_training_images(BaseConfig(path=str(copied_base)), copied_base) is None
    before = hash_base(copied_base)
    (copied_base / "training_images.json").write_text(in_folder)
    found = find_training_images(BaseConfig(path=str(copied_base)), copied_base)
    assert found is not None and found.sha256 == {"a" * 64}
    (tmp_path / "list.json").write_text(elsewhere)
    config = BaseConfig(path=str(copied_base), training_images=str(tmp_path / "list.json"))
    found = find_training_images(config, copied_base)
    assert found is not None and found.sha256 == {"b" * 64}
    assert hash_base(copied_base) == before, "a list is no part of the base"
