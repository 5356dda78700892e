"""Frames by number with PyAV, from a safe place before them or from the beginning of the file.

After a seek, frames are taken only from a place on from which every picture is shown as it is, and only as long as
the decoder hands out exactly the frames that the index names, one after the other. Otherwise the file is read again
from its beginning, by one thread, as the index was made.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Int, UInt8

from vidjacobi.errors import BadInput, number_of
from vidjacobi.video.index import VideoIndex
from vidjacobi.video.losses import Losses
from vidjacobi.video.reader import OrderDiffers, Pictures
from vidjacobi.video.stream import DecodeFailed, decoded, open_stream, packets_of, shown_frames

Numbered = Iterable[tuple[int, VideoFrame]]


def read(path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"]) -> Pictures:
    """Frames by number (repeats allowed); only these are kept in memory. Raises BadInput and OrderDiffers."""
    first = int(picks.min())
    for target in _seeks(index, first):
        try:
            with open_stream(path) as (container, stream):
                if target is not None:
                    container.seek(target, stream=stream)
                losses = Losses(stream, index.step)
                frames = decoded(stream, losses.watch(packets_of(container, stream)))
                pictures, lost = _collect(_in_a_row(frames, index, first), index, picks, path, losses)
        except (DecodeFailed, av.FFmpegError):
            continue
        if not lost:
            return pictures
    return _read_from_the_beginning(path, index, picks)


def _seeks(index: VideoIndex, first: int) -> Iterator[int | None]:
    """Time stamps to seek to, one after the other until frames are found; None is the beginning of the file."""
    if not index.stamped:
        return
    earlier = [s for s in index.starts if s.shown <= index.stamps[first]]
    start = max(earlier, default=None, key=lambda s: s.shown)
    if start is not None and start.shown > index.stamps[0]:
        # Some containers look for the display time of a key frame, others for the time at which it is decoded.
        yield start.shown
        yield start.stored
    yield None


def _in_a_row(frames: Iterable[VideoFrame], index: VideoIndex, first: int) -> Numbered:
    """Frames with their numbers. Raises DecodeFailed unless they are those of the index in its order.

    What comes before the first safe place is left out: pictures that lack what they are predicted from.
    """
    safe = {int(index.stamps[0]), *(start.shown for start in index.starts)}
    at: int | None = None
    for frame in frames:
        if at is None:
            if frame.pts not in safe:
                continue
            at = int(np.searchsorted(index.stamps, frame.pts))
            if at > first:
                raise DecodeFailed(f"the seek ended at frame {at}, which is after frame {first}")
        if at >= len(index.stamps) or frame.pts != index.stamps[at]:
            raise DecodeFailed(f"frame {at} is missing or another")
        yield at, frame
        at += 1


def _read_from_the_beginning(path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"]) -> Pictures:
    damage: list[str] = []
    with open_stream(path, threads=False) as (container, stream):
        losses = Losses(stream, index.step)
        frames = shown_frames(container, stream, damage, losses.watch)
        numbered = _by_stamp(frames, index) if index.stamped else enumerate(frames)
        pictures, lost = _collect(numbered, index, picks, path, losses)
    if lost and not (damage or index.counted):
        raise OrderDiffers
    if lost:
        raise BadInput(
            f"{path}: damaged: frame {lost[0]} cannot be decoded ({len(lost)} of those asked for); "
            "ask for frames before or after it, or copy or download the file again"
        )
    if damage and not index.odd:
        note = f"damaged: {number_of(len(damage), 'packet')} before the last frame read cannot be decoded"
        return pictures._replace(notes=(note,))
    return pictures


def _by_stamp(frames: Iterable[VideoFrame], index: VideoIndex) -> Numbered:
    """Frames with the numbers that their time stamps have in the index; gaps are left by damage."""
    numbers = {int(stamp): number for number, stamp in enumerate(index.stamps)}
    last = -1
    for frame in frames:
        if frame.pts is not None and frame.pts > index.stamps[-1]:
            return  # left out, at the end of a file that was cut
        number = numbers.get(frame.pts, -1) if frame.pts is not None else -1
        if number <= last:
            raise OrderDiffers
        yield number, frame
        last = number


def _collect(
    numbered: Numbered, index: VideoIndex, picks: Int[np.ndarray, " T"], path: Path, losses: Losses
) -> tuple[Pictures, list[int]]:
    """The picked frames, and the numbers of those that did not appear."""
    places: dict[int, list[int]] = {}  # number of a frame -> its places in the result
    for place, number in enumerate(picks.tolist()):
        places.setdefault(number, []).append(place)
    frames = np.empty((len(picks), *index.size, 3), np.uint8)
    incomplete: list[int] = []
    spoilt: list[int] = []
    for number, frame in numbered:
        if wanted := places.pop(number, None):
            frames[wanted] = _to_rgb(frame, index, path)
            incomplete += wanted if frame.is_corrupt else []
            spoilt += wanted if losses.may_spoil(frame) else []
        if not places:
            break
    return Pictures(frames, (), tuple(incomplete), tuple(spoilt)), sorted(places)


def _to_rgb(frame: VideoFrame, index: VideoIndex, path: Path) -> UInt8[np.ndarray, "H W 3"]:
    if any(component.is_alpha for component in frame.format.components):
        from vidjacobi.video.images import over_black  # few videos are transparent

        picture = over_black(frame.to_ndarray(format="rgba"))
    else:
        picture = frame.to_ndarray(format="rgb24")
    picture = index.orientation.apply(picture)
    if picture.shape[:2] != index.size:
        raise BadInput(
            f"{path}: its pictures change size within the clip, from {index.size[1]}x{index.size[0]} to "
            f"{picture.shape[1]}x{picture.shape[0]}; re-encode it at one size"
        )
    return picture
