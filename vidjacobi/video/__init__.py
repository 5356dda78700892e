"""Video files, images and folders of images to frames, and frames to an mp4 or a contact sheet."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjacobi.video.clips import ClipInfo as ClipInfo
    from vidjacobi.video.clips import ReadClip as ReadClip
    from vidjacobi.video.clips import open_clip as open_clip
    from vidjacobi.video.clips import read_frames as read_frames
    from vidjacobi.video.clips import write_video as write_video

__all__ = ["ClipInfo", "ReadClip", "open_clip", "read_frames", "write_video"]


def __getattr__(name: str) -> Any:
    # Looked up when it is used, so that a rollout of frames in memory, which needs only ``pixels``, does not load
    # the video libraries.
    if name in __all__:
        from vidjacobi.video import clips

        return getattr(clips, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
