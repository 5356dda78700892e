"""What is opened at all: demuxers and picture formats that read one file and nothing else, and bounds on it.

Videos and pictures come from others. A playlist (HLS, DASH, concat) makes a demuxer open other files, and some
picture formats start a program. So every file is opened here, by the formats listed here. What a header promises is
checked before memory is taken for it.
"""

from io import BytesIO
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from vidjacobi.errors import BadInput, number_of

# By FFmpeg's names: containers, then single streams. None of them opens a second file with the options below.
DEMUXERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "ogg", "asf", "nut", "mxf", "gxf", "dv"),
    *("rm", "nsv", "dhav", "gif", "apng", "ivf", "obu", "h264", "hevc", "vvc", "m4v", "mpegvideo", "h263"),
    *("h261", "vc1", "vc1test", "dirac", "dnxhd", "mjpeg", "mpjpeg", "smjpeg", "yuv4mpegpipe"),
)
# By Pillow's names. It knows more, but some look at a few bytes only and would take videos for pictures.
PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
MOST_PIXELS = 1 << 26  # of one picture: 8192 x 8192, or twice a video of 8K
MOST_ASPECT = 32  # long side over short side
MOST_BYTES = 1 << 32  # of the frames of one read, 3 a pixel
MOST_STREAMS = 64

_OPTIONS = {
    "format_whitelist": ",".join(DEMUXERS),
    "protocol_whitelist": "file",
    # mov files may keep their pictures in another file
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
# The first bytes of text that names other files
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"[reference]", b"RTSPtext")
_HEAD_BYTES = 4096


def open_container(path: Path) -> InputContainer:
    """The file, opened by a demuxer of DEMUXERS. Raises BadInput, also for more than MOST_STREAMS streams."""
    try:
        # FFmpeg takes names such as "concat:a|b" for protocols; an absolute path cannot be one.
        container = av.open(
            str(path.absolute()),
            options={"max_pixels": str(MOST_PIXELS)},  # of the decoders that look for what the header lacks
            container_options=_OPTIONS,
            metadata_errors="replace",
        )
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path) from error
    if len(container.streams) > MOST_STREAMS:
        count = len(container.streams)
        container.close()
        raise BadInput(f"{path}: holds {count} streams, and at most {MOST_STREAMS} are read")
    return container


def limit_decoder(stream: VideoStream, path: Path) -> None:
    """Let a decoder make no picture above the bounds. Raises BadInput where the header promises one."""
    codec = stream.codec_context
    codec.options = {**codec.options, "max_pixels": str(MOST_PIXELS)}
    if codec.width and codec.height:
        check_picture(codec.height, codec.width, path)


def open_picture(file: str | Path | BytesIO, name: str | Path) -> Image.Image:
    """A picture whose header is read, in a format of PICTURES. Messages call it ``name``.

    Raises BadInput for one above the bounds, and what Pillow raises for a file that is none.
    """
    try:
        image = Image.open(file, formats=PICTURES)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name}: {error}") from error
    try:
        check_picture(image.height, image.width, name)
    except BadInput:
        image.close()
        raise
    return image


def check_picture(height: int, width: int, name: str | Path) -> None:
    """Raise BadInput for a picture with too many pixels or too long a shape."""
    if height * width > MOST_PIXELS:
        raise BadInput(
            f"{name}: pictures of {width}x{height}; at most {MOST_PIXELS >> 20} million pixels are read "
            "(8192x8192): scale it down first"
        )
    if max(height, width) > MOST_ASPECT * max(1, min(height, width)):
        raise BadInput(
            f"{name}: pictures of {width}x{height}; one side may be at most {MOST_ASPECT} times the other: "
            "cut out the part that matters first"
        )


def check_frames(count: int, height: int, width: int, name: str | Path) -> None:
    """Raise BadInput for a read that takes too much memory."""
    check_picture(height, width, name)
    if 3 * count * height * width > MOST_BYTES:
        raise BadInput(
            f"{name}: {number_of(count, 'frame')} of {width}x{height} take "
            f"{3 * count * height * width / 2**30:.1f} GiB, and at most {MOST_BYTES >> 30} GiB are read at "
            "once: ask for fewer frames, or scale it down first"
        )


def _not_a_video(path: Path) -> BadInput:
    """The error for a file that no demuxer of DEMUXERS opens, with the most likely reason."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    # An mp4 file is a row of boxes: 4 bytes of length, then 4 letters.
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return BadInput(
            f"{path}: an mp4/mov file without a readable index (moov): it was cut short, "
            "or its recording never ended; copy or download it again"
        )
    if head.lstrip().startswith(_PLAYLISTS):
        return BadInput(
            f"{path}: a playlist, which names other files and is not opened; name the video itself"
        )
    return BadInput(
        f"{path}: not a video or image in a format that is read (convert it to mp4), or damaged from its "
        "first bytes on"
    )
