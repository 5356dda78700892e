"""Video readers, each asked for frames by number as its documentation shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "h w 3"]


class Numbered(Protocol):
    """A reader of one file: the frames of some numbers."""

    def __call__(self, path: str, numbers: list[int]) -> list[Picture]: ...


_LAST: dict[str, object] = {}


def _opened(open_file: Callable[[str], Any], path: str) -> Any:
    """The file, opened once for all its reads, as training code does."""
    if path not in _LAST:
        _LAST.clear()
        _LAST[path] = open_file(path)
    return _LAST[path]


def with_vidjacobi(path: str, numbers: list[int], reader: str = "pyav") -> list[Picture]:
    """``read_frames``, as every command reads."""
    from vidjacobi.video.clips import read_frames

    stride = numbers[1] - numbers[0]
    return list(read_frames(path, numbers[0], len(numbers), stride=stride, reader=reader).pictures)


def with_vidjacobi_decord(path: str, numbers: list[int]) -> list[Picture]:
    """The same with ``--reader decord``."""
    return with_vidjacobi(path, numbers, "decord")


def with_decord(path: str, numbers: list[int]) -> list[Picture]:
    """``VideoReader.get_batch``."""
    import decord

    video = _opened(lambda path: decord.VideoReader(path, num_threads=1), path)
    return list(video.get_batch(numbers).asnumpy())


def with_pyav(path: str, numbers: list[int]) -> list[Picture]:
    """PyAV as its cookbook seeks: to the time of the first frame, and on from the first frame that is not earlier."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        target = int((stream.start_time or 0) + numbers[0] / rate / stream.time_base)
        container.seek(target, stream=stream)
        wanted, found = {number - numbers[0] for number in numbers}, []
        later = (f for f in container.decode(stream) if f.pts is not None and f.pts >= target)
        for place, frame in enumerate(later):
            if place in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == len(wanted):
                break
    return found


def with_torchcodec(path: str, numbers: list[int]) -> list[Picture]:
    """``VideoDecoder.get_frames_at`` with its default, exact seeking."""
    from torchcodec.decoders import VideoDecoder

    video = _opened(lambda path: VideoDecoder(path, dimension_order="NHWC"), path)
    return list(video.get_frames_at(numbers).data.numpy())


def with_imageio(path: str, numbers: list[int]) -> list[Picture]:
    """``imread`` by index with its PyAV plugin."""
    import imageio.v3 as imageio

    with imageio.imopen(path, "r", plugin="pyav") as file:
        return [file.read(index=number) for number in numbers]


def with_opencv(path: str, numbers: list[int]) -> list[Picture]:
    """``CAP_PROP_POS_FRAMES`` and ``read``."""
    import cv2

    video, found = _opened(cv2.VideoCapture, path), []
    for number in numbers:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        good, frame = video.read()
        if not good:
            raise ValueError(f"no frame {number}")
        found.append(frame[..., ::-1])
    return found


@dataclass(frozen=True)
class Tried:
    """A reader of the table: how it is called, the package that must be installed, and which reads it is asked for.

    Attributes:
        every: only every so many-th read is tried, because there are many.
    """

    read: Numbered
    package: str
    every: int = 1


READERS = {
    "vidjacobi": Tried(with_vidjacobi, "av"),
    "vidjacobi, `--reader decord`": Tried(with_vidjacobi_decord, "decord", every=23),
    "decord": Tried(with_decord, "decord", every=4),
    "PyAV": Tried(with_pyav, "av", every=4),
    "torchcodec": Tried(with_torchcodec, "torchcodec", every=4),
    "imageio": Tried(with_imageio, "imageio", every=4),
    "OpenCV": Tried(with_opencv, "cv2", every=4),
}
