"""Pictures of an exported set: where they stand, how they are packed, and their statistics."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clip_files import decode_all, encode, moving, psnr

from vidjacobi.export.statistics import QUANTILES, colour_counts, number_statistics, picture_statistics
from vidjacobi.export.videos import ENCODERS, SharedVideos, VideoFormat, put_back
from vidjacobi.models.codec import as_seen, fit

FORMAT = VideoFormat(10, 64, 96)


def packed(folder: Path, codec: str, lengths: tuple[int, ...], limit: int = 2**30) -> list[tuple[int, float]]:
    frames, places = torch.from_numpy(moving(sum(lengths))), []
    with SharedVideos(folder, codec, FORMAT, limit) as videos:
        for part in frames.split(lengths):
            place = videos.add(Path("unused"), part)
            places.append((place.file, place.since))
    return places


@pytest.mark.parametrize("size", [(48, 64), (60, 64), (128, 300), (33, 21)])
def test_pictures_are_put_back_where_they_were(size: tuple[int, int]) -> None:
    frames = torch.from_numpy(moving(2, *size))
    back = put_back(as_seen(fit(frames, (32, 48))), size)
    assert back.shape == frames.shape
    black = (back == 0).all(-1).all(0)
    rows, columns = (~black).any(1).nonzero().ravel(), (~black).any(0).nonzero().ravel()
    seen = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # one direction is whole, and the other is cut evenly on both sides
    assert len(rows) == size[0] or len(columns) == size[1]
    assert abs(int(rows[0]) - (size[0] - 1 - int(rows[-1]))) <= 1
    assert abs(int(columns[0]) - (size[1] - 1 - int(columns[-1]))) <= 1
    assert len(rows) / len(columns) == pytest.approx(32 / 48, rel=0.06)
    assert psnr(back[seen].numpy(), frames[seen].numpy()) > 25


@pytest.mark.parametrize("codec", ENCODERS)
def test_episodes_lie_one_behind_the_other(tmp_path: Path, codec: str) -> None:
    assert packed(tmp_path, codec, (5, 3, 7)) == [(0, 0.0), (0, 0.5), (0, 0.8)]
    found = decode_all(tmp_path / "chunk-000/file-000.mp4")
    assert len(found) == 15
    assert psnr(found, moving(15)) > 35


def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    lengths, true, first = (60, 20, 60, 20, 60), moving(220), 0
    places = packed(tmp_path, "h264", lengths, limit=100)
    assert len({file for file, _ in places}) > 2
    for (file, since), length in zip(places, lengths, strict=True):
        found = decode_all(tmp_path / f"chunk-000/file-{file:03d}.mp4")[round(since * 10) :][:length]
        assert psnr(found, true[first : first + length]) > 35
        first += length


@pytest.mark.parametrize("codec", ENCODERS)
def test_streams_survive_a_merge_without_encoding(tmp_path: Path, codec: str) -> None:
    """As lerobot merges: packets behind packets, under the header of the first file."""
    true = moving(6, 64, 96)[::-1].copy()
    encode(tmp_path / "source.mp4", true, ENCODERS[codec][0], rate=10, g="2", crf="30")
    packed(tmp_path / "made", codec, (6,))
    (tmp_path / "list").write_text("file source.mp4\nfile made/chunk-000/file-000.mp4\n")
    options = {"safe": "0"}
    with (
        av.open(str(tmp_path / "list"), format="concat", options=options) as given,
        av.open(str(tmp_path / "merged.mp4"), "w") as merged,
    ):
        stream = merged.add_stream_from_template(given.streams.video[0], opaque=True)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                merged.mux(packet)
    with av.open(str(tmp_path / "merged.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)  # and back again, with what the decoder has learnt since
        again = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert len(pictures) == 12
    assert psnr(np.stack(pictures[:6]), true) > 30
    assert psnr(np.stack(pictures[6:]), moving(6)) > 35
    assert np.array_equal(again, pictures[0])


def test_statistics_are_numpys() -> None:
    frames = moving(4)
    found = picture_statistics(colour_counts(frames[:2]) + colour_counts(frames[2:]), 4)
    pixels = frames.reshape(-1, 3) / 255
    for name, value in {"min": pixels.min(0), "max": pixels.max(0), "mean": pixels.mean(0)}.items():
        assert np.ravel(found[name]) == pytest.approx(value)
    assert np.ravel(found["std"]) == pytest.approx(pixels.std(0))
    for name, share in QUANTILES.items():
        assert np.ravel(found[name]) == pytest.approx(np.quantile(pixels, share, axis=0), abs=1 / 255)
    assert np.shape(found["mean"]) == (3, 1, 1)
    assert found["count"] == [4]
    whole = number_statistics(np.array([True, False, True, True]))
    assert whole["min"] == [0]
    assert whole["mean"] == [0.75]
    assert whole["count"] == [4]
    assert number_statistics(np.zeros((5, 2, 3)))["mean"] == [[0.0] * 3] * 2
