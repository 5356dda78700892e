"""Where played worlds begin, and the true world beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.play.test_play import Push, game
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.play.beginnings import ACTIONS, CONTEXTS, Beginning, TruePushT, TrueWorld, held_out, refused

pytestmark = pytest.mark.unchecked


class Counter:
    """A true world whose picture is the number of its steps."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, number: int) -> Beginning:
        self.told = []
        return Beginning(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))

    def step(self, action: Any) -> None:
        self.told.append(action)

    def back(self) -> None:
        self.told.pop()

    def picture(self) -> np.ndarray:
        return np.full((8, 8, 3), len(self.told), np.uint8)


def test_the_true_world_is_told_what_is_done_in_the_framed_one() -> None:
    truth = Counter()
    assert isinstance(truth, TrueWorld)
    played = game(Push(torch.stack, 2), truth)
    first = played.answer({"what": "reset"})
    assert first["truth"].startswith("data:image/png;base64,")
    played.answer({"what": "fork"})
    one = played.answer({"what": "step", "pointer": [0.25, 0.5], "row": 1})
    two = played.answer({"what": "step", "pointer": [1.0, 0.0], "row": 0})
    assert [action.tolist() for action in truth.told] == [[128, 256] * 2, [512, 0] * 2]
    assert len({first["truth"], one["truth"], two["truth"]}) == 3
    assert played.answer({"what": "rewind"})["truth"] == one["truth"]
    played.answer({"what": "rewind"})
    with pytest.raises(InvalidArgument):
        played.answer({"what": "rewind"})
    assert truth.told == []  # as far back as the session, and no further


def test_no_true_world() -> None:
    assert game().answer({"what": "step"})["truth"] is None


def test_contexts_beside_the_weights(tmp_path: Path) -> None:
    class Grey:
        """Each code is a grey."""

        stride_t, max_frames, frame_size = 1, 4, (2, 2)

        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

        def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
            return (tokens[:, None] / 255).expand(-1, 3, -1, -1, -1)

    with pytest.raises(BadInput, match="name a CLIP"):
        held_out(tmp_path, Grey())
    tokens = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 2, 2)
    np.save(tmp_path / CONTEXTS, tokens)
    np.save(tmp_path / ACTIONS, np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4))
    begin = held_out(tmp_path, Grey())
    for number in (0, 1, 2):
        found = begin(number)
        assert (found.frames[..., 0].numpy() == tokens[number % 2]).all()
        assert [row[0].item() for row in found.actions] == [number % 2 * 20, number % 2 * 20 + 4]


def test_a_model_that_needs_a_clip() -> None:
    with pytest.raises(InvalidArgument, match="MineWorld has no start of its own: name a picture"):
        refused("MineWorld")(0)


def test_the_true_push_t() -> None:
    pytest.importorskip("gym_pusht", reason="the true Push-T is not installed (the extra pusht)")
    truth = TruePushT(4, 2, 64)
    begun = truth.begin(3)
    assert (begun.frames.shape, len(begun.actions), begun.actions[0].shape) == ((4, 64, 64, 3), 3, (4,))
    first = truth.picture()
    assert (begun.frames.numpy() == first).all()
    truth.step(begun.actions[0])
    assert (truth.picture() == first).all()  # nobody moves
    shown = [truth.picture()]
    for x in (100.0, 300.0, 500.0):
        truth.step(torch.tensor([x, 200.0, x, 250.0]))
        shown.append(truth.picture())
    assert (shown[-1] != first).any()
    truth.back()
    assert (truth.picture() == shown[-2]).all()
    truth.step(torch.tensor([500.0, 200.0, 500.0, 250.0]))
    assert (truth.picture() == shown[-1]).all()
    assert (truth.begin(4).frames.numpy() != first).any()
