"""Frames of a video file by number, through the reader that was chosen."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from vidjacobi.errors import BadInput, number_of
from vidjacobi.registry import lookup
from vidjacobi.video.index import VideoIndex, recent_index
from vidjacobi.video.losses import after_gaps, spelled
from vidjacobi.video.records import DEFAULT, READERS


class Pictures(NamedTuple):
    """Frames in the order asked for, and what is wrong with them.

    Attributes:
        notes: about the file as far as it was read.
        incomplete: which of ``frames`` could be decompressed in part only.
        spoilt: which may show traces of other pictures, as a packet before them is lost.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    notes: tuple[str, ...] = ()
    incomplete: tuple[int, ...] = ()
    spoilt: tuple[int, ...] = ()


class OrderDiffers(Exception):
    """A decoder hands out other frames than an index of the packets lets expect. Users never see this error."""


@runtime_checkable
class Reader(Protocol):
    """Frames by number (repeats allowed).

    Raises BadInput where it cannot give exactly the frames of the index, and OrderDiffers where the decoder hands out
    others than the packets let expect.
    """

    def __call__(self, path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"]) -> Pictures: ...


@dataclass(frozen=True)
class Selection:
    """Which frames of a clip are wanted: `count` from `start` on or, with `from_end`, the last `count`.

    With a `stride` only every stride-th frame is wanted; the last ones still end with the last frame of the clip.
    """

    start: int
    count: int
    from_end: bool = False
    stride: int = 1

    @property
    def span(self) -> int:
        """Number of frames from the first wanted one to the last one, those in between included."""
        return (self.count - 1) * self.stride + 1

    def picks_from(self, start: int, ticks: Int[np.ndarray, " n"]) -> Int[np.ndarray, " T"]:
        """The wanted ones among ``ticks``, the frames of the clip at constant rate."""
        return ticks[start : start + self.span : self.stride]

    def first_of(self, available: int, path: Path, missing: int = 0) -> int:
        """Index of the first wanted frame. Raises BadInput where the clip is too short."""
        start = available - self.span if self.from_end else self.start
        if missing and (self.from_end or start + self.span > available):
            raise BadInput(
                f"{path}: damaged or cut short: only {available} of its "
                f"{number_of(available + missing, 'frame')} can be read, "
                f"and {'its end' if self.from_end else 'more'} is asked for; copy or download it again"
            )
        if start < 0 or start + self.span > available:
            at = "" if self.from_end or not self.start else f" from frame {self.start} on"
            at += f" with stride {self.stride}" if self.stride > 1 else ""
            raise BadInput(
                f"{path}: {number_of(self.count, 'frame')} needed{at}, but the clip has {available}; "
                "ask for fewer frames or name a longer clip"
            )
        return start


@dataclass(frozen=True)
class VideoFrames:
    """What was read: frames, the index of the first one, and notes about what is odd in the file."""

    frames: UInt8[np.ndarray, "T H W 3"]
    start: int
    index: VideoIndex
    notes: tuple[str, ...]


def reader_of(name: str) -> Reader:
    """The entry of READERS. Raises InvalidArgument for an unknown name."""
    module, _, function = lookup("reader", name, READERS).partition(":")
    return cast(Reader, getattr(import_module(module), function))


def read_video(path: Path, selection: Selection, reader: str = DEFAULT) -> VideoFrames:
    """The selected frames of a file, at constant rate. Raises BadInput, and InvalidArgument for an unknown reader.

    Clips of variable rate are resampled by time; see `VideoIndex.at_constant_rate`.
    """
    read = reader_of(reader)
    index = recent_index(path)
    try:
        return _selected(path, selection, index, read)
    except OrderDiffers:
        # The packets had promised another order. Only if there are as many frames do all numbers stay the same.
        counted = recent_index(path, count=True)
        if index.counted or len(counted.stamps) != len(index.stamps):
            raise BadInput(
                f"{path}: its packets let expect {number_of(len(index.stamps), 'frame')}, but its decoder gives "
                f"{len(counted.stamps)}, so they cannot be told apart by number; re-encode it"
            ) from None
        return _selected(path, selection, counted, read)


def _selected(path: Path, selection: Selection, index: VideoIndex, read: Reader) -> VideoFrames:
    start = selection.first_of(len(index.stamps), path, index.missing)
    pictures = read(path, index, selection.picks_from(start, index.at_constant_rate()))
    notes = list(pictures.notes)
    incomplete, spoilt = (
        [start + k * selection.stride for k in places] for places in (pictures.incomplete, pictures.spoilt)
    )
    if incomplete:
        notes.append(f"damaged: {len(incomplete)} of the frames read are incomplete: {spelled(incomplete)}")
    if spoilt:
        notes.append(f"damaged: a packet is lost, and {spelled(spoilt)} may show traces of other pictures")
    return VideoFrames(pictures.frames, start, index, (*notes, *describe(index)))


def describe(index: VideoIndex) -> tuple[str, ...]:
    """Notes about a file that can be read but is odd."""
    notes = [*index.odd, *index.traits]
    if index.missing:
        notes.append(f"cut short: {number_of(index.missing, 'frame')} missing at the end")
    ticks = index.at_constant_rate()
    gaps, doubtful = after_gaps(
        index.seconds, index.codec, np.searchsorted(index.stamps, [s.shown for s in index.starts]).tolist()
    )
    if doubtful:
        which = spelled(np.flatnonzero(np.isin(ticks, doubtful)).tolist())
        where = number_of(gaps, "gap")
        notes.append(
            f"{where} between its times: if packets are lost there, {which} may show traces of others"
        )
    if not np.array_equal(ticks, np.arange(len(index.stamps))):
        notes.append(f"variable frame rate, resampled by time to {float(index.rate):.3f} fps")
    return tuple(notes)
