"""Images of every mode become RGB bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidjacobi.errors import BadInput
from vidjacobi.video.images import image_size, over_black, read_image
from vidjacobi.video.probe import Kind, kind_of


def test_grey_of_8_and_16_bits(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.repeat(grey[..., None], 3, -1))


def test_alpha_is_put_over_black(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    expected = [[[200, 100, 50], [0, 0, 0], [100, 50, 25]]]
    assert over_black(rgba).tolist() == expected
    assert read_image(tmp_path / "a.png").tolist() == expected
    grey = np.array([[[200, 255], [200, 0]]], np.uint8)
    Image.fromarray(grey, "LA").save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png").tolist() == [[[200] * 3, [0] * 3]]


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 255, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=1)
    assert read_image(tmp_path / "p.png").tolist() == [[[9, 8, 7], [0, 0, 0]]]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (8, 4), (255, 255, 255)).convert(mode).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff").min() >= 250


def test_exif_rotation(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 8))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    picture.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    frame = read_image(tmp_path / "phone.jpg")
    assert image_size(tmp_path / "phone.jpg") == frame.shape[:2] == (16, 8)
    assert frame[:7].min() > 200
    assert frame[9:].max() < 50


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(BadInput, match="floating-point"):
        read_image(tmp_path / "depth.tiff")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "image.mp4", format="PNG")
    assert kind_of(tmp_path / "image.mp4") is Kind.IMAGE
    frames = [Image.new("RGB", (4, 4), (i * 50, 0, 0)) for i in range(3)]
    for name, kind in (("a.gif", Kind.VIDEO), ("a.png", Kind.VIDEO)):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40)
        assert kind_of(tmp_path / name) is kind
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=40)
    with pytest.raises(BadInput, match="animated WebP"):
        kind_of(tmp_path / "a.webp")
