"""Features are computed once, and only usable ones are taken from the disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_features import clip, make_extractor

from vidjacobi.errors import BadOutput
from vidjacobi.eval.feature_cache import cached, key_of_files, key_of_frames
from vidjacobi.eval.features import Extractor


def refuse() -> torch.Tensor:
    raise AssertionError("what is stored must be used")


def test_a_clip_is_measured_once(tiny_extractor: Extractor, tmp_path: Path) -> None:
    frames = clip(1)
    key = key_of_frames(frames)
    first = cached(tiny_extractor, key, lambda: frames, tmp_path / "new" / "folder")
    assert (first.reused, first.note) == (False, "")
    assert torch.equal(first.features, tiny_extractor(frames[None])[0])
    again = cached(tiny_extractor, key, refuse, tmp_path / "new" / "folder")
    assert again.reused
    assert torch.equal(again.features, first.features)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_another_protocol_or_clip_is_measured_anew(tiny_extractor: Extractor, tmp_path: Path) -> None:
    frames = clip(1)
    key = key_of_frames(frames)
    cached(tiny_extractor, key, lambda: frames, tmp_path)
    assert not cached(make_extractor("FVD-other"), key, lambda: frames, tmp_path).reused
    assert not cached(tiny_extractor, key_of_frames(clip(2)), lambda: clip(2), tmp_path).reused
    assert len(list(tmp_path.iterdir())) == 3


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 0xFF  # in the middle of the numbers
    path.write_bytes(content)


def _rewrite(path: Path, **changed: object) -> None:
    with np.load(path) as stored:
        np.savez(path, **{**stored, **changed})


@pytest.mark.parametrize(
    "harm",
    [
        _cut,
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: np.savez(path, other=1),
        lambda path: _rewrite(path, key="another clip"),
        lambda path: _rewrite(path, features=np.full(7, np.nan, np.float32)),
        lambda path: _rewrite(path, features=np.array([{"a": 1}], dtype=object)),
    ],
    ids=["cut", "flipped", "empty", "text", "foreign", "stray", "nan", "objects"],
)
def test_a_damaged_entry_is_measured_again(tiny_extractor: Extractor, tmp_path: Path, harm) -> None:
    frames = clip(1)
    key = key_of_frames(frames)
    whole = cached(tiny_extractor, key, lambda: frames, tmp_path)
    (entry,) = tmp_path.iterdir()
    harm(entry)
    mended = cached(tiny_extractor, key, lambda: frames, tmp_path)
    assert not mended.reused
    assert "unusable" in mended.note
    assert torch.equal(mended.features, whole.features)
    assert cached(tiny_extractor, key, refuse, tmp_path).reused


def test_a_failure_leaves_nothing_behind(tiny_extractor: Extractor, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached(tiny_extractor, "key", lambda: 1 // 0, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(BadOutput, match="cannot be created"):
        cached(tiny_extractor, "key", lambda: clip(1), tmp_path / "file")


def test_keys_follow_the_content(tmp_path: Path) -> None:
    frames = clip(1, 10)
    assert key_of_frames(frames) == key_of_frames(frames.clone())
    assert key_of_frames(frames) != key_of_frames(frames.reshape(10, 24, 16, 3))
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    key = key_of_files([a, b], 0, 9)
    assert key_of_files([a, b], 0, 9) == key
    assert len({key, key_of_files([b, a], 0, 9), key_of_files([a, b], 1, 9), key_of_files([a, b], 0, 8)}) == 4
    b.write_bytes(b"new")
    assert key_of_files([a, b], 0, 9) != key
