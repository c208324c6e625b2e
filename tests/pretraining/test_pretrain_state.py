"""The checkpoint of a training: read back by the same networks, refused by others."""

import re

import pytest
import torch

from pretraining.optimization import AveragedWeights
from pretraining.pretrain_state import PretrainState, load_state, save_state


def state_of(weights, optimizer, generator) -> PretrainState:
    averaged = AveragedWeights(weights, 0.9)
    return PretrainState(weights=weights, averaged=averaged, optimizer=optimizer, generator=generator)


def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    generator = torch.Generator()
    optimizer = torch.optim.AdamW(weights)
    save_state(file, 7, state_of(weights, optimizer, generator))
    assert load_state(file, state_of(weights, optimizer, generator)) == 7
    for others in (weights[:1], [*weights, weights[0]], weights[::-1]):
        with pytest.raises(ValueError, match=re.escape(str(file))):
            load_state(file, state_of(others, optimizer, generator))
