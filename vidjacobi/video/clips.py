"""Clips in and out: a video file, an image or a folder of images becomes frames, and frames become an mp4.

This module is the public face of the package. Behind it, ``probe`` says what a path is, ``index`` where the frames
of a video lie in time, ``reader`` and ``images`` read them, and ``writer`` writes them. It reads in this process and
opens only what ``whitelist`` allows; commands read through ``timed_reader``, whose process may hang or crash.

Frames are uint8 RGB [T H W 3] at the size and rate of the source; nothing is rescaled. Pictures with alpha are put
over black. Pixels that are not square are taken as if they were.
"""

from pathlib import Path

from vidjacobi.errors import BadInput
from vidjacobi.kinds import of_kind, whole
from vidjacobi.video.index import recent_index
from vidjacobi.video.probe import kind_of
from vidjacobi.video.reader import Selection, describe, read_video
from vidjacobi.video.records import ClipInfo, Kind, ReadClip, chosen_reader
from vidjacobi.video.timing import FALLBACK_FPS
from vidjacobi.video.whitelist import check_frames
from vidjacobi.video.writer import write_video

__all__ = ["ClipInfo", "Kind", "ReadClip", "open_clip", "read_frames", "write_video"]


def open_clip(path: str | Path) -> ClipInfo:
    """What is at `path`, without reading its frames. Of a file that was cut short the frames that are left count.

    Images and folders have 25 fps. Raises BadInput where there is no clip.
    """
    path = Path(of_kind("a clip", path, (str, Path), "a path"))
    kind = kind_of(path)
    if kind is not Kind.VIDEO:
        from vidjacobi.video.images import beside_frames, frame_files, image_size

        files = frame_files(path) if kind is Kind.FOLDER else [path]
        height, width = image_size(files[0])
        notes = beside_frames(path) if kind is Kind.FOLDER else ()
        return ClipInfo(str(path), kind, FALLBACK_FPS, len(files), height, width, "", notes)
    index = recent_index(path)
    return ClipInfo(
        str(path), kind, index.rate, len(index.stamps), *index.size, codec=index.codec, notes=describe(index)
    )


def read_frames(
    path: str | Path,
    start: int,
    count: int,
    from_end: bool = False,
    stride: int = 1,
    reader: str | None = None,
) -> ReadClip:
    """`count` frames of a clip from frame `start` on, or its last `count` frames.

    Args:
        start: index of the first frame; must be 0 with `from_end`.
        from_end: read the last frames instead.
        stride: read only every stride-th frame; `fps` falls accordingly.
        reader: entry of `vidjacobi.video.records.READERS` that reads videos; None for the chosen one, PyAV. All give
            the same frames: decord refuses files for which it is not known to be right.

    Only the frames asked for are held in memory. Raises BadInput where the clip is unusable or too short, and where
    its pictures or all these frames are larger than ``whitelist`` allows; InvalidArgument for
    an unknown reader, and for what is no path or no whole number.
    """
    path = Path(of_kind("a clip", path, (str, Path), "a path"))
    start, count, stride = whole("start", start), whole("count", count), whole("stride", stride)
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
        index, reader = recent_index(path), reader or chosen_reader()
        check_frames(min(count, len(index.stamps)), *index.size, path)
        read = read_video(path, selection, reader)
        fps = float(read.index.rate) / stride
        return ReadClip(read.frames, fps, str(path), read.start, reader, read.notes)
    if kind is Kind.IMAGE and start + count > 1:
        raise BadInput(
            f"{path}: an image is a clip of one frame, but {start + count} are needed; ask for one"
        )
    from vidjacobi.video.images import beside_frames, frame_files, read_images

    files = frame_files(path) if kind is Kind.FOLDER else [path]
    first = selection.first_of(len(files), path)  # for a single image 0, checked above
    pictures = read_images(files[first : first + selection.span : stride])
    notes = beside_frames(path) if kind is Kind.FOLDER else ()
    return ReadClip(pictures, float(FALLBACK_FPS) / stride, str(path), first, "pillow", notes)
