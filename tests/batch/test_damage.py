"""Files of finished futures that are not what was written: videos, and folders of pictures, by their hashes."""

from dataclasses import replace
from pathlib import Path

import pytest

from vidjacobi.batch.damage import is_other_video, video_hash
from vidjacobi.batch.manifest import Item, ManifestRow


def row_of(out: Path, suffix: str) -> tuple[ManifestRow, Path]:
    """The row of a future whose video, or folder of pictures, lies there."""
    item = Item("a", 0, 0)
    video = out / item.path(suffix)
    for file in [video] if suffix else [video / "0000.png", video / "0001.png"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"pictures of " + file.name.encode())
    row = ManifestRow(*item, video=str(video.relative_to(out)), video_sha256=video_hash(video))
    return row, video


@pytest.mark.parametrize("suffix", [".mp4", ""])
def test_other_bytes_are_noticed(tmp_path: Path, suffix: str) -> None:
    row, video = row_of(tmp_path, suffix)
    assert not is_other_video(tmp_path, row)
    file = video if suffix else video / "0001.png"
    content = file.read_bytes()
    for other in (content[:-1], content[:-1] + b"?", b""):
        file.write_bytes(other)
        assert is_other_video(tmp_path, row)
        assert not is_other_video(
            tmp_path, replace(row, video_sha256=None)
        )  # written before there were hashes
    file.write_bytes(content)
    assert not is_other_video(tmp_path, row)
    file.unlink()
    assert is_other_video(tmp_path, row) == (not suffix)  # a video that is not there is gone, and not damaged
