"""How an exported set is laid out: its features, the size and codec of its pictures, and what that rules out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.errors import InvalidArgument
from vidjacobi.export.source import MARKS, NUMBERING, Features, Source, SourceCamera
from vidjacobi.export.tables import camera_feature, scalar
from vidjacobi.export.videos import (
    ENCODERS,
    TABLE_PICTURES,
    CopiedVideos,
    SharedVideos,
    TablePictures,
    VideoFormat,
)
from vidjacobi.registry import lookup

SIZES = {
    "source": "the size and codec of a LeRobot source, what the model did not see in black; else as `model`",
    "model": "the batch's own videos, copied",
}


@dataclass(frozen=True)
class SetLayout:
    """What is decided before the first future is written.

    Attributes:
        camera: key of the camera's feature.
        features: of the whole set.
        video: rate and size of the pictures.
        codec: key of ``vidjacobi.export.videos.ENCODERS`` or TABLE_PICTURES; None: the batch's videos are copied.
        marks: whether there are columns that say what is predicted and recorded.
    """

    camera: str
    features: Features
    video: VideoFormat
    codec: str | None
    marks: bool

    def pictures(self, folder: Path) -> CopiedVideos | SharedVideos | TablePictures:
        """What writes the pictures of a set in ``folder``."""
        if self.codec == TABLE_PICTURES:
            return TablePictures()
        videos = folder / "videos" / self.camera
        return CopiedVideos(videos) if self.codec is None else SharedVideos(videos, self.codec, self.video)

    def notes(self, source: Source, stride: int) -> list[str]:
        """What stands against a merge with the source by lerobot, and what helps. ``stride`` is the batch's."""
        camera, found = source.camera, []
        if source.version != "v3.0":
            found.append(f"the source is {source.version}: convert it to v3.0 with lerobot")
        if stride > 1:
            found.append(f"the futures have {self.video.fps} fps, the source {stride} times as many")
        if camera.others:
            removed = ", ".join(f"'{other}'" for other in camera.others)
            found.append(
                f"the source has cameras that were not predicted: lerobot-edit-dataset --operation.type "
                f'remove_feature --operation.feature_names "[{removed}]" makes a copy without them'
            )
        if different := [name for name, own in source.features.items() if self.features[name] != own]:
            found.append(
                f"{', '.join(different)} is what the model was told, in another shape than the source's"
            )
        if self.features[self.camera] != camera.feature:
            found.append(
                "the pictures are not in the source's format "
                f"({', '.join(map(str, self.features[self.camera]['shape']))}, {self.codec or 'h264'} here): "
                "lerobot's merge takes equal ones only"
            )
        return found


def layout_of(
    source: Source, shared: VideoFormat, size: str, same_features: bool, fed: Features | None = None
) -> SetLayout:
    """The layout for a source and for videos of this format; ``fed``: features of the actions that were fed.

    Raises InvalidArgument.
    """
    lookup("size of the pictures", size, SIZES)
    camera = source.camera
    if same_features and camera.feature is None:
        raise InvalidArgument("--same-features goes with a batch of a LeRobot dataset")
    codec, video = None, shared
    feature = camera_feature(shared.height, shared.width, shared.fps, "h264")
    if size == "source" and camera.feature is not None and camera.size is not None:
        own = codec_of(camera)
        codec, video = own or "h264", VideoFormat(shared.fps, *camera.size)
        feature = camera.feature if own else camera_feature(*camera.size, shared.fps, codec)
    numbers = {name: source.numbering.get(name) or scalar(dtype) for name, dtype in NUMBERING.items()}
    features = {camera.key: feature, **source.features, **(fed or {}), **numbers}
    if not same_features:
        features |= {name: scalar(dtype) for name, dtype in MARKS.items()}
    return SetLayout(camera.key, features, video, codec, not same_features)


def codec_of(camera: SourceCamera) -> str | None:
    """How the source stores its pictures, if that can be done here."""
    feature: Mapping[str, Any] = camera.feature or {}
    if feature.get("dtype") == "image":
        return TABLE_PICTURES
    info = feature.get("info") or feature.get("video_info") or {}
    codec = info.get("video.codec")
    return codec if codec in ENCODERS else None
