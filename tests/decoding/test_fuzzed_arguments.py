"""Arguments of other types at the public functions: refused in words, or taken for what they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import ODD_TEXTS, each, refused
from hypothesis import strategies as st

import vidjacobi
from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel
from vidjacobi.video import open_clip, read_frames, write_video

# without the checks of types that other tests have, which no user has
pytestmark = [pytest.mark.slow, pytest.mark.unchecked]
MODEL = TinyVideoModel(8, Grid(4, 2, 3), dtype=torch.float64)
# what callers pass by mistake: things of numpy and torch, texts of numbers, numbers of other kinds
OBJECTS: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3.0, 2.5, -0.0, float("nan"), float("inf"), 1e308, 5e-324, 10**30, 1j),
    *(
        "3",
        "a",
        "",
        b"x",
        [],
        [1],
        [1, 2],
        [[1]],
        ["a"],
        [None],
        (),
        (1, 2),
        {},
        {"a": 1},
        {1},
        range(2),
        object(),
    ),
    *(
        np.int64(2),
        np.float32(0.5),
        np.bool_(True),
        np.zeros(2),
        np.zeros((1, 3), int),
        np.array("a"),
        int,
        len,
    ),
    *(
        torch.tensor(2),
        torch.zeros(2),
        torch.zeros(1, 3).long(),
        torch.zeros(0).long(),
        torch.zeros(1, 3, 3, 3),
    ),
    *(
        torch.zeros(1, 3).bool(),
        torch.tensor([[7, 9]]),
        Path("x"),
        Path("."),
        MODEL,
        SamplingParams(),
        Grid(1, 1, 1),
    ),
]
objects = st.sampled_from(range(len(OBJECTS) + len(ODD_TEXTS))).map(
    lambda place: [*OBJECTS, *ODD_TEXTS][place]
)


def some(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), objects, min_size=1, max_size=2)


def test_sampling() -> None:
    each(
        some("temperature", "top_p", "top_k", "seed"),
        200,
        lambda odd: refused(lambda: SamplingParams(**odd).resolve(None)),
    )


def test_decode() -> None:
    good = {"model": MODEL, "context": torch.zeros(1, 3).long(), "new_tokens": 2, "decoder": "pathwise"}

    def check(odd: dict[str, Any]) -> None:
        refused(lambda: vidjacobi.decode(**{**good, **odd}))

    each(some("model", "context", "new_tokens", "decoder", "window", "sampling", "clip_ids"), 300, check)


def test_decoders() -> None:
    good = {**vars(load_decoder("fast"))}

    def check(odd: dict[str, Any]) -> None:
        refused(lambda: choose_decoder(DecoderConfig(**{**good, **odd}), None, SamplingParams()))

    each(some(*good), 150, check)


@pytest.fixture(scope="module")
def pair(tiny_pair: Path) -> Any:
    return vidjacobi.load(tiny_pair, "cpu", "float32")


def test_rollout(pair: Any) -> None:
    frames = torch.zeros(1, 32, 48, 3, dtype=torch.uint8)
    good = {"frames": frames, "model": pair[0], "tokenizer": pair[1], "new_frames": 1}

    def check(odd: dict[str, Any]) -> None:
        refused(lambda: vidjacobi.rollout(**{**good, **odd}))

    names = (
        "frames",
        "model",
        "tokenizer",
        "new_frames",
        "decoder",
        "window",
        "sampling",
        "start",
        "clip_id",
    )
    each(some(*names), 120, check)


def test_load(tiny_pair: Path) -> None:
    good = {"name_or_path": tiny_pair, "device": "cpu", "dtype": "float32"}

    def check(odd: dict[str, Any]) -> None:
        refused(lambda: vidjacobi.load(**{**good, **odd}))

    each(some("name_or_path", "device", "dtype", "tokenizer", "compile"), 80, check)


def test_video(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    frames = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    write_video(clip, frames, 10)

    def check(odd: dict[str, Any]) -> None:
        path = {"path": odd.get("path", clip)}
        refused(lambda: open_clip(**path))
        reading = {key: value for key, value in odd.items() if key in ("start", "count")}
        refused(lambda: read_frames(**{"start": 0, "count": 2, **path, **reading}))
        writing = {key: value for key, value in odd.items() if key in ("frames", "fps")}
        if "path" not in odd:
            refused(
                lambda: write_video(**{"path": tmp_path / "o.mp4", "frames": frames, "fps": 10, **writing})
            )

    each(some("path", "start", "count", "frames", "fps"), 120, check)
