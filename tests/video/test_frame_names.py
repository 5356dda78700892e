"""The names of a folder's pictures say their order, or the folder is refused."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.frame_names import in_order

ORDERED = {
    "a counter": [f"frame{i}.png" for i in range(12)],
    "the clock as Python prints it": [f"{round(1700000000 + i / 30, 3)}.png" for i in range(40)],
    "milliseconds behind a dot": [f"10-00-{i * 50 // 1000:02d}.{i * 50 % 1000}.png" for i in range(40)],
    "two counters": [f"{a}.{b}.jpg" for a in range(3) for b in range(1, 12)],
    "three counters": ["1.2.3.png", "1.2.10.png", "1.10.1.png"],
    "negative numbers": [f"{i - 20}.png" for i in range(40)],
    "negative fractions": [f"t_{i / 10 - 2}.png" for i in range(40)],
    "a hyphen that is no sign": [f"clip-{i}.png" for i in range(12)],
    "very small times": [f"{i / 1e5}.png" for i in range(1, 30)],
    "base 16": [f"frame_{i:02x}.png" for i in range(40)],
    "letters": ["a.png", "b.png", "c.png"],
    "two endings, one picture each": [f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(12)],
    "chunks that count on": [f"chunk{i // 6}_{i:03d}.png" for i in range(12)],
    "date and time": [f"20210919_{h:02d}{m:02d}00.png" for h in range(3) for m in range(0, 60, 20)],
    "one picture": ["preview.png"],
}
REFUSED = {
    "colour, events and depth": (
        [f"{i:06d}{kind}.png" for i in range(3) for kind in ("", "_ec", ".depth.mm.16")],
        "3 like 000000.depth.mm.16.png, 3 like 000000.png, 3 like 000000_ec.png; move each kind to a folder",
    ),
    "colour and depth by ending": (
        [f"{i}.{end}" for i in range(3) for end in ("jpg", "png")],
        "no single clip: 3 like 0.jpg, 3 like 0.png",
    ),
    "left and right": (
        [f"{s}{i}.png" for i in range(3) for s in ("left", "right")],
        "3 like left0.png, 3 like right0",
    ),
    "cameras by number": (
        [f"cam{c}_{i:03d}.png" for c in range(2) for i in range(3)],
        "3 like cam0_000.png, 3 like cam1_000.png",
    ),
    "a preview among them": (["0.png", "1.png", "preview.png"], "2 like 0.png, 1 like preview.png"),
    "words": (["first.png", "second.png", "third.png"], "hold no number that says their order"),
    "one number twice": (["1.png", "01.png"], "count twice: 01.png and 1.png"),
    "fractions or counters": (["1.9.png", "1.11.png"], "can be read as fractions .* or as counters"),
    "all signed": (["-1.png", "-2.png"], "negative numbers, or as numbers behind a hyphen"),
    "base 16 of unequal lengths": ([f"{i:x}.png" for i in range(40)], "no single clip"),
}


@pytest.mark.parametrize("kind", ORDERED)
def test_the_order_of_names(kind: str) -> None:
    names = ORDERED[kind]
    mixed = random.Random(0).sample(names, len(names))
    assert [file.name for file in in_order([Path("clip", name) for name in mixed])] == names


@pytest.mark.parametrize("kind", REFUSED)
def test_names_without_an_order(kind: str) -> None:
    names, message = REFUSED[kind]
    mixed = random.Random(0).sample(names, len(names))
    with pytest.raises(BadInput, match=message):
        in_order([Path("clip", name) for name in mixed])


def test_frames_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for value, name in enumerate(["-1.5", "-0.25", "0.0", "0.033", "0.1"]):
        Image.fromarray(np.full((2, 2, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    assert read_frames(tmp_path, 0, 5).frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_what_lies_beside_the_pictures_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("0.png", "1.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    assert open_clip(tmp_path).notes == read_frames(tmp_path, 0, 1).notes == ()
    for name in (".DS_Store", "labels.json", "2.psd"):
        (tmp_path / name).touch()
    (tmp_path / "depth").mkdir()
    note = "beside the pictures, and left out: 3 other files or folders (2.psd, depth, labels.json)"
    assert open_clip(tmp_path).notes == read_frames(tmp_path, 0, 1).notes == (note,)
