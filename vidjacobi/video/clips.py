"""Clips in and out: a video file, an image, or a folder of images becomes frames.

The facade over video_source (what is it), video_index (where are its frames), video_reader, stills
and video_writer. Frames are uint8 RGB [T H W 3] at the source's size and rate; nothing is rescaled.
Pictures with alpha are put over black. Non-square pixels are taken as they are.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from vidjacobi.errors import BadInput
from vidjacobi.shapes import Frames
from vidjacobi.video.index import FALLBACK_FPS, recent_index
from vidjacobi.video.probe import Kind, kind_of
from vidjacobi.video.reader import Selection, describe, read_video
from vidjacobi.video.writer import write_video

__all__ = ["ClipInfo", "Kind", "ReadClip", "open_clip", "read_frames", "write_video"]


@dataclass(frozen=True)
class ClipInfo:
    """A clip before it is read. fps is exact (30000/1001); size as displayed; codec is empty for images."""

    source: str
    kind: Kind
    fps: Fraction
    frames: int
    height: int
    width: int
    codec: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadClip:
    """Frames of one clip. `start` is the index of the first one; `reader` is decord, pyav or pillow.

    `notes` says what was odd about the file: cut short, variable rate, decord's failure.
    """

    frames: Frames
    fps: float
    source: str
    start: int
    reader: str
    notes: tuple[str, ...] = ()


def open_clip(path: str | Path) -> ClipInfo:
    """What is at `path`, without reading its frames. A file cut short counts the frames it still has.

    Images and folders have 25 fps. Raises BadInput.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is not Kind.VIDEO:
        from vidjacobi.video.images import frame_files, image_size

        files = frame_files(path) if kind is Kind.FOLDER else [path]
        height, width = image_size(files[0])
        return ClipInfo(str(path), kind, FALLBACK_FPS, len(files), height, width, "")
    index = recent_index(path)
    return ClipInfo(
        str(path), kind, index.rate, len(index.keys), *index.size, codec=index.codec, notes=describe(index)
    )


def read_frames(
    path: str | Path, start: int, count: int, from_end: bool = False, stride: int = 1
) -> ReadClip:
    """`count` frames from frame `start` on, or the last `count` (then `start` must be 0).

    With a `stride` only every stride-th frame is read, and `fps` falls accordingly. Only the frames asked
    for are held in memory. Raises BadInput when the clip is unusable or too short.
    """
    path = Path(path)
    if start < 0 or count < 1 or stride < 1:
        raise BadInput(
            f"{path}: frames from {start} on, {count} of them, stride {stride}: "
            "the start counts from 0, the number from 1, the stride from 1"
        )
    if from_end and start:
        raise BadInput(f"{path}: frames from {start} on and frames from the end exclude each other")
    selection = Selection(start, count, from_end, stride)
    kind = kind_of(path)
    if kind is Kind.VIDEO:
        read = read_video(path, selection)
        frames, fps = torch.from_numpy(read.frames), float(read.index.rate) / stride
        return ReadClip(frames, fps, str(path), read.start, read.reader, read.notes)
    if kind is Kind.IMAGE and start + count > 1:
        raise BadInput(
            f"{path}: an image is a clip of one frame, but {start + count} are needed; ask for one"
        )
    from vidjacobi.video.images import frame_files, read_images

    files = frame_files(path) if kind is Kind.FOLDER else [path]
    first = selection.first_of(len(files), path)
    pictures = read_images(files[first : first + selection.span : stride])
    return ReadClip(torch.from_numpy(pictures), float(FALLBACK_FPS) / stride, str(path), first, "pillow")
