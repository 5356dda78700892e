"""Video files, images and folders of images to frames, and frames to an mp4.

info = video.open_clip("clip.mp4")           # size, rate and number of frames; no frame is decoded
clip = video.read_frames("clip.mp4", 0, 9)   # the first 9: clip.frames is uint8 [9 H W 3], clip.fps its rate
video.write_video("copy.mp4", clip.frames, clip.fps)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjacobi.video.clips import ClipInfo as ClipInfo
    from vidjacobi.video.clips import ReadClip as ReadClip
    from vidjacobi.video.clips import open_clip as open_clip
    from vidjacobi.video.clips import read_frames as read_frames
    from vidjacobi.video.writer import write_video as write_video

# The public names and where they live; PyAV is imported with the first of them, so that --help is quick.
_HOMES = {
    "ClipInfo": "vidjacobi.video.clips",
    "ReadClip": "vidjacobi.video.clips",
    "open_clip": "vidjacobi.video.clips",
    "read_frames": "vidjacobi.video.clips",
    "write_video": "vidjacobi.video.writer",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vidjacobi.video' has no attribute {name!r}")
