"""Images and folders of images as frames."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from vidjacobi.errors import BadInput
from vidjacobi.video.frame_names import in_order
from vidjacobi.video.probe import counted, is_image_name
from vidjacobi.video.whitelist import check_frames, open_picture


def over_black(rgba: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures with alpha over black. Dropping alpha instead would show what is hidden under transparent pixels."""
    # uint16, since 255 * 255 does not fit uint8; + 127 rounds to the nearest whole number
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)


def read_image(path: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    """One image as RGB: turned as EXIF says, alpha over black, the upper 8 of 16 bits.

    Raises BadInput for a file that is damaged, too large, in floating point, or in another format (``whitelist``).
    """
    return _read(path, path)


def image_from_bytes(data: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """The bytes of an image file as RGB, like ``read_image``. Messages call it `name`. Raises BadInput."""
    return _read(io.BytesIO(data), name)


def _read(file: str | Path | io.BytesIO, path: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    try:
        with open_picture(file, path) as image:
            _check_single(image, path)
            return _to_rgb(ImageOps.exif_transpose(image), path)
    except PermissionError as error:
        raise BadInput(f"{path}: no permission to read it; check its owner and mode (chmod +r)") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path}: a damaged or unknown image: {error}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) as displayed, from the header alone. Raises BadInput."""
    try:
        with open_picture(path, path) as image:
            _check_single(image, path)
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # Orientation: a quarter turn
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path}: a damaged or unknown image: {error}") from error
    return (width, height) if turned else (height, width)


def _check_single(image: Image.Image, path: str | Path) -> None:
    """Raise BadInput for several pictures in one file, such as the pages of a TIFF: only the first would be read."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":  # phones keep other sizes of the same picture in their JPEGs
        raise BadInput(
            f"{path}: {count} pictures in one file ({image.format}); save each as a file of its own"
        )


def frame_files(folder: str | Path) -> list[Path]:
    """The images of a folder in the order that their names say (frame2 before frame10); see ``frame_names``.

    Raises BadInput where there is none, and where the names are those of several clips or leave the order open.
    """
    images, others = _listed(Path(folder))
    if not images:
        held = f"it holds {counted(others)}; name the clips themselves" if others else "it is empty"
        raise BadInput(f"{folder}: a folder without images, so not a clip ({held})")
    return in_order(images)


def beside_frames(folder: str | Path) -> tuple[str, ...]:
    """A note that counts and names what else is in a folder of images; empty if nothing is."""
    others = _listed(Path(folder))[1]
    return (f"beside the pictures, and left out: {counted(others)}",) if others else ()


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    """(images, names of everything else), both without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            files = {entry.name: entry.is_file() for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise BadInput(f"{folder}: this folder cannot be listed: {error.strerror or error}") from error
    images = [name for name, is_file in files.items() if is_file and is_image_name(name)]
    return [folder / name for name in images], sorted(files.keys() - set(images))


def read_images(files: Sequence[Path]) -> UInt8[np.ndarray, "T H W 3"]:
    """The images as frames, uint8 RGB. Raises BadInput where one differs in size from the first, and for too many."""
    check_frames(
        len(files), *image_size(files[0]), files[0].parent
    )  # by the header, before a picture is made
    pictures = ((str(file), read_image(file)) for file in files)
    return stacked(pictures, len(files), str(files[0].parent))


def stacked(
    pictures: Iterable[tuple[str, UInt8[np.ndarray, "H W 3"]]], count: int, name: str
) -> UInt8[np.ndarray, "T H W 3"]:
    """``count`` pictures, each with its own name for messages, as frames; one at a time stands in memory beside them.

    Raises BadInput where one differs in size from the first, and where together they are too large (``whitelist``).
    """
    frames, first = np.empty((0, 0, 0, 3), np.uint8), ""
    for place, (called, picture) in enumerate(pictures):
        height, width = picture.shape[:2]
        if place == 0:
            check_frames(count, height, width, name)
            frames, first = np.empty((count, height, width, 3), np.uint8), Path(called).name
        if picture.shape != frames.shape[1:]:
            raise BadInput(
                f"{called}: {width}x{height} pixels, but {first} has {frames.shape[2]}x{frames.shape[1]}; "
                "the frames of a clip need one size"
            )
        frames[place] = picture
    return frames


def _to_rgb(image: Image.Image, path: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode == "F":
        raise BadInput(f"{path}: a floating-point image, whose white is not defined; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits of grey; convert("RGB") would clip them at 255
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if "A" in image.mode or "transparency" in image.info:
        return over_black(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))
