"""An evaluation of a model whose frames follow actions: those of the dataset, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robot_sets import write_robot_set
from tiny_features import make_extractor

from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.eval.results import Line
from vidjacobi.eval.run import evaluate
from vidjacobi.eval.settings import load_eval

pytestmark = pytest.mark.unchecked  # tests of the parts check shapes
CONTEXT, FRAMES = 2, 3
OWN = "own_acted:load"  # two actions a frame, 5 frames a second


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A LeRobot set of two episodes, 10 frames a second."""
    return write_robot_set(tmp_path / "set", codec="png")


def rewrite(data: Path, change: Callable[[int, int], list[float] | None]) -> None:
    """Other actions in the same recordings, by episode and frame."""
    (path,) = data.rglob("data/**/*.parquet")
    table = pq.read_table(path)
    places = zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
    kind = table["action"].type
    column = pa.array([change(*place) for place in places], kind)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), path)


def run(data: Path, out: Path, **more: Any) -> list[Line]:
    flags = {
        **{"data": str(data), "dataset": "lerobot", "model": OWN, "dtype": "float64", "stride": 2},
        **{"context": CONTEXT, "frames": FRAMES, "clips": 2, "draws": 20, "videos": 0, "shown": "all"},
        **{"decoders": ["pathwise"], "windows": [4], "device": "cpu"},
    }
    found = make_extractor()
    short = replace(found, protocol={**found.protocol, "least_frames": CONTEXT + FRAMES})
    return evaluate(load_eval("quick", flags | more), out, lambda line: None, short)


def tokens_in(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in (out / "decodes").rglob("*.npy")}


@pytest.mark.slow  # three evaluations, with their figures and pages
def test_actions_of_the_dataset_are_followed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "e"
    found = {line["decoder"]: line for line in run(data, out)}
    assert found["pathwise"]["ar_agreement"] == 1
    assert found["pathwise"]["passes"] <= found["ar"]["passes"]
    actions = np.load(out / "actions.npy")
    assert actions.shape == (2, CONTEXT + FRAMES - 1, 4)
    for clip, row in zip(json.loads((out / "clips.json").read_text())["clips"], actions, strict=True):
        episode = int(clip["id"].split("_")[-1])
        frames = 2 * np.arange(len(row)) / 3
        wanted = [frames, 0 * frames - episode, frames + 1 / 3, 0 * frames - episode]
        np.testing.assert_allclose(row, np.stack(wanted, 1), rtol=1e-6)
    before = tokens_in(out)
    assert len(before) == 4
    run(data, out)  # resumed: all is there
    assert tokens_in(out) == before
    # other actions, other tokens
    rewrite(data, lambda episode, frame: [float(frame), 3.0])
    with pytest.raises(BadOutput, match="under other actions"):
        run(data, out)
    run(data, tmp_path / "other")
    assert tokens_in(tmp_path / "other") != before


def test_clips_without_fitting_actions_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"frames are 0.1 s apart, and this model's frames are 0.2 s apart"):
        run(data, tmp_path / "e", stride=1)
    rewrite(data, lambda episode, frame: None)
    with pytest.raises(BadInput, match=r"action 0 must be 2 numbers"):
        run(data, tmp_path / "f")
