"""What a path is, found before anything is decompressed, and a clear message where it is nothing usable."""

import codecs
import os
from collections.abc import Sequence
from pathlib import Path

from vidjacobi.errors import BadInput
from vidjacobi.video.records import Kind
from vidjacobi.video.whitelist import open_picture

# The endings by which every listing of a folder tells clips from other files. A file that is named by itself may have
# any: what it is, is decided by its content.
VIDEO_SUFFIXES = frozenset(
    """.mp4 .m4v .mov .qt .f4v .3gp .3g2 .mkv .webm .avi .divx .wmv .asf .flv .gif .ogv .ogm .mxf .gxf .nut .dv .rm
    .rmvb .mpg .mpeg .mpe .m1v .m2v .mpv .vob .mod .tod .ts .mts .m2ts .m2t .trp .h264 .264 .avc .h265 .265 .hevc
    .h266 .266 .vvc .ivf .obu .y4m .mjpeg .mjpg .apng""".split()  # noqa: SIM905
)
IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .webp .bmp .tif .tiff .ppm .pgm".split())  # noqa: SIM905
_LISTED = 5  # most names in a message
_HEAD_BYTES = 4096


def kind_of(path: str | Path) -> Kind:
    """The kind of input at `path`, by its content and not by its name. GIF and animated PNG are videos.

    Raises BadInput for a path that is missing or unreadable, and for a file that is empty, text or a git-lfs pointer.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return Kind.FOLDER
        if not path.exists():
            raise BadInput(_missing(path))
        if not path.is_file():
            raise BadInput(f"{path}: neither a file nor a folder (a pipe or a device?); name a video file")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except PermissionError as error:
        raise BadInput(f"{path}: no permission to read it; check its owner and mode (chmod +r)") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    _refuse_text(path, head)
    return Kind.IMAGE if _is_still_image(path) else Kind.VIDEO


def is_video_name(name: str) -> bool:
    """Whether a file of this name is listed as a video."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def is_image_name(name: str) -> bool:
    """Whether a file of this name is listed as an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def counted(names: Sequence[str]) -> str:
    """How many files and folders are left out, and the first of their names, for messages."""
    more = len(names) - _LISTED
    # names that are no text are shown as Python writes them
    shown = ", ".join(names[:_LISTED]).encode("utf-8", "backslashreplace").decode()
    what = "other file or folder" if len(names) == 1 else "other files or folders"
    return f"{len(names)} {what} ({shown}{f' and {more} more' if more > 0 else ''})"


def _missing(path: Path) -> str:
    if "://" in str(path) or ":/" in str(path)[2:]:
        return f"{path}: addresses are not fetched; download the file and name the copy"
    if path.is_symlink():
        return f"{path}: a link whose target is missing (a cache that was cleared?)"
    return f"{path}: no such file or folder"


def _refuse_text(path: Path, head: bytes) -> None:
    """Raise BadInput for text, which must never reach the demuxer: a playlist would make it open other files."""
    if not head:
        raise BadInput(f"{path}: an empty file (0 bytes); copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise BadInput(
            f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` in its repository"
        )
    # PGM and PPM images begin with P1 to P6 and a blank, and some of them are text.
    is_picture = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    if not is_picture and _is_text(head):
        start = head.decode("utf-8", "ignore").strip().splitlines()
        raise BadInput(f"{path}: a text file, not a video (it begins {start[0][:40] if start else ''!r})")


def _is_text(head: bytes) -> bool:
    try:
        # The incremental decoder accepts a character that is cut off at the end of ``head``.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\n\r\f\ufeff" for c in text)


def _is_still_image(path: Path) -> bool:
    try:
        with open_picture(path, path) as image:
            frames = getattr(image, "n_frames", 1)
            if image.format == "WEBP" and frames > 1:
                raise BadInput(f"{path}: an animated WebP, which is not read; convert it to mp4 or GIF")
            return not (image.format == "PNG" and frames > 1)
    except (OSError, SyntaxError, ValueError):
        return False  # not an image of these formats
