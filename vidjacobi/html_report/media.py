"""Videos and pictures as data URIs, so that a page can be a single file."""

import io
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Frames
from vidjacobi.video.timed_reader import open_clip, read_frames
from vidjacobi.video.writer import write_video

Video = Frames | str | Path  # frames in memory, or a path that vidjacobi.video reads

_QUALITY = 23  # constant rate factor: half the bytes of a rollout's mp4, still without visible loss
_POSTER_QUALITY = 85
# the first bytes of PNG and JPEG files
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True)
class Film:
    """An mp4 and its last frame as data URIs. Its size is that of the frames, before odd sides are padded."""

    source: str
    poster: str
    frames: int
    width: int
    height: int


def film(video: Video, fps: int | float | Fraction) -> Film:
    """Encode a video for the page as H.264 yuv420p at `fps`, whatever the rate of a file is.

    Raises BadInput, BadOutput, or InvalidArgument for no frames.
    """
    frames = read_frames(video, 0, open_clip(video).frames).frames if isinstance(video, str | Path) else video
    if not len(frames):
        raise InvalidArgument("a video of a page needs at least one frame")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, frames, fps, quality=_QUALITY)
        source = data_uri("video/mp4", path.read_bytes())
    poster = io.BytesIO()
    Image.fromarray(frames[-1].cpu().numpy()).save(poster, format="JPEG", quality=_POSTER_QUALITY)
    height, width = frames.shape[1:3]
    return Film(source, data_uri("image/jpeg", poster.getvalue()), len(frames), width, height)


def picture_kind(picture: bytes) -> str:
    """The media type of PNG or JPEG bytes. Raises InvalidArgument for any other bytes."""
    for magic, kind in _KINDS.items():
        if picture.startswith(magic):
            return kind
    raise InvalidArgument(f"a picture of a page is PNG or JPEG bytes; these begin with {picture[:8]!r}")


def picture_uri(picture: bytes) -> str:
    """PNG or JPEG bytes as a data URI. Raises InvalidArgument for any other bytes."""
    return data_uri(picture_kind(picture), picture)


def data_uri(kind: str, content: bytes) -> str:
    """`content` as a data URI: an address that holds the content itself."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
