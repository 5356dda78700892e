"""Actions of MineRL as ids, and what MineWorld refuses."""

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_riders import tiny_trunk
from torch import nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.mineworld import MineWorld, action_ids, camera_bin, ids_of_row
from vidjacobi.families.opening import open_family

STILL = [8257, 8225, 8246, 8258, 8258, 8258, 8258, 8258, 8258, 8258, 8259]


def test_an_action_has_eleven_ids() -> None:
    assert action_ids({}) == STILL
    found = action_ids(
        {"camera": [-90, 180], "forward": 1, "right": 1, "sneak": 1, "attack": 1, "jump": 1, "drop": 1}
    )
    assert found == [8257, 8215, 8256, 8258, 8194, 8197, 8199, 8193, 8198, 8201, 8259]
    assert action_ids({"hotbar.9": 1})[3] == 8214


def test_both_of_a_pair_are_none() -> None:
    assert action_ids({"forward": 1, "back": 1, "use": 1, "attack": 1}) == STILL


def test_camera_bins_are_finer_near_zero() -> None:
    assert [camera_bin(angle) for angle in (-90.0, -1.0, 0.0, 1.0, 5.0, 20.0, 90.0)] == [
        *(0, 10, 10, 10, 12, 15, 20)
    ]


def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="an action has no fly"):
        action_ids({"fly": 1})
    with pytest.raises(InvalidArgument, match=r"\[pitch, yaw\] in degrees"):
        action_ids({"camera": 3})
    # each of these would be an action without a word: a pressed button, and the camera turned by 90 degrees
    with pytest.raises(InvalidArgument, match="forward must be 0 or 1, not '0'"):
        action_ids({"forward": "0"})
    with pytest.raises(InvalidArgument, match="not finite"):
        action_ids({"camera": [0, math.nan]})


def test_actions_as_minerl_hands_them_out() -> None:
    arrays = {"camera": np.array([-90.0, 10.0], np.float32), "forward": np.array(1), "jump": np.array(0)}
    assert action_ids(arrays) == action_ids({"camera": [-90, 10], "forward": 1})
    ids = range(8192, 8260)
    assert ids_of_row(np.array(STILL), "action 0", ids) == STILL


def test_actions_of_other_shapes_and_ids_are_refused() -> None:
    network = tiny_trunk().layers
    family = MineWorld(network, nn.Linear(32, 60, bias=False), (2, 3), 40)
    assert family.world(torch.full((1, 2, 4), 50)).max_positions == 18
    with pytest.raises(InvalidArgument, match="of one width"):
        family.world([torch.zeros(2, 4).long(), torch.zeros(2, 5).long()])
    assert family.world([torch.zeros(2, 4).long(), torch.zeros(3, 4).long()]).max_positions == 24
    with pytest.raises(InvalidArgument, match=r"token ids \[60\] lie outside"):
        family.world(torch.full((1, 1, 1), 60))
    with pytest.raises(InvalidArgument, match="more than this model's 512"):
        family.world(torch.full((1, 60, 4), 50))


def test_a_folder_without_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadCheckpoint, match=r"found none: the transformer's checkpoint .* May 2025"):
        open_family("mineworld", tmp_path, "cpu")
    torch.save({"state_dict": {"model.norm.weight": torch.zeros(3)}}, tmp_path / "last.ckpt")
    with pytest.raises(BadCheckpoint, match="other tensors than MineWorld's"):
        open_family("mineworld", tmp_path, "cpu")
    with pytest.raises(InvalidArgument, match="did you mean 'mineworld'"):
        open_family("minewrold", tmp_path, "cpu")
    monkeypatch.setitem(sys.modules, "transformers", types.ModuleType("transformers"))
    with pytest.raises(InvalidArgument, match=r"glm_image needs transformers 5\.23 or newer"):
        open_family("glm_image", tmp_path, "cpu")
    with pytest.raises(InvalidArgument, match="mineworld has no option side: it has none"):
        open_family("mineworld", tmp_path, "cpu", side=3)
