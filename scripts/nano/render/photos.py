"""Camera moves over real photographs that ordinary packages carry: pan, zoom, perspective, sway. Training only.

A photograph hangs in the plane z = 0 and a camera moves before it; poses and intrinsics are true. No picture
is copied into the project; they are read from where the packages are installed:

    scikit-image (skimage.data): astronaut (NASA, public domain), camera (CC0, Lav Varshney), brick, grass, gravel
        (CC0 Textures), chelsea (CC0, Stefan van der Walt), coffee (CC0, Rachel Michetti), rocket (SpaceX, public
        domain)
    scikit-learn (sklearn.datasets): china (CC BY 2.0, danielbuechele), flower (CC BY 2.0, vultilion)
    matplotlib (sample_data): grace_hopper (US Navy, public domain)
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image

from scripts.nano.render.camera_paths import CameraPath, cut_corners, key_pose_path
from scripts.nano.render.rasteriser import Lens
from vidjacobi.errors import BadInput

PHOTOS = (  # module, path in it
    *(
        ("skimage", f"data/{name}")
        for name in (
            "astronaut.png",
            "camera.png",
            "brick.png",
            "grass.png",
            "gravel.png",
            "chelsea.png",
            "coffee.png",
            "rocket.jpg",
        )
    ),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
# Scenes are shown more often than bare surfaces.
WEIGHTS = np.array([1, 1, 0.35, 0.35, 0.35, 1.4, 1.4, 1, 1.6, 1.4, 1])
PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
WORLD_WIDTH = 2.0  # metres across a photograph
TRIES = 200


@cache
def load_photo(number: int) -> list[torch.Tensor]:
    """A photograph in linear sizes 1, 1/2, 1/4 ...: ``[1 3 h w]`` in [0, 1].

    Raises BadInput if its package is not installed.
    """
    module, path = PHOTOS[number]
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"the photographs of {PACKAGES[module]} are needed: pip install {PACKAGES[module]}, "
            "or leave the kind 'photo' out"
        )
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.exists():
        raise BadInput(f"{PACKAGES[module]} is installed without {path}: install another version of it")
    picture = np.asarray(Image.open(file).convert("RGB"), np.float32) / 255
    sizes = [torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()]
    while min(sizes[-1].shape[2:]) > 128:
        sizes.append(F.avg_pool2d(sizes[-1], 2))
    return sizes


def sample_photo(rng: np.random.Generator, lens: Lens) -> tuple[list[torch.Tensor], CameraPath]:
    """A photograph and a camera path that never leaves it. Raises BadInput if a package is missing."""
    for _ in range(TRIES):
        number = int(rng.choice(len(PHOTOS), p=WEIGHTS / WEIGHTS.sum()))
        height, width = load_photo(number)[0].shape[2:]
        extent = np.array([WORLD_WIDTH, WORLD_WIDTH * height / width])
        keys = propose_keys(extent, width, lens, rng)
        seen = np.stack([corners(key, lens, extent) for key in cut_corners(keys)[::4]])
        if (np.abs(seen) < 0.97).all():
            camera_path = key_pose_path(
                "photo", keys, float(rng.uniform(0.08, 0.7)), rng, rng.random() < 0.15
            )
            sizes = vary(load_photo(number), rng)
            if shows_something(sizes, camera_path, lens):
                return sizes, camera_path
    raise RuntimeError(f"no camera move found that stays on a photograph in {TRIES} tries")


def vary(sizes: list[torch.Tensor], rng: np.random.Generator) -> list[torch.Tensor]:
    """The photograph with its colours a little changed, and perhaps mirrored."""
    gain = torch.tensor(rng.uniform(0.85, 1.15, 3), dtype=torch.float32).view(1, 3, 1, 1)
    gamma, mirrored = float(rng.uniform(0.8, 1.25)), rng.random() < 0.5
    changed = [(picture.pow(gamma) * gain).clamp(0, 1) for picture in sizes]
    return [picture.flip(3) for picture in changed] if mirrored else changed


def shows_something(sizes: list[torch.Tensor], camera_path: CameraPath, lens: Lens) -> bool:
    """Whether the first picture is neither flat nor nearly black or white (bare sky, a dark coat)."""
    small = Lens((16, max(4, round(16 * lens.size[1] / lens.size[0]))), lens.focal)
    picture = render_photo(sizes, camera_path.poses(1, 25.0)[0].numpy(), small).float()
    return bool(picture.std() > 22) and 40 < float(picture.mean()) < 215


def propose_keys(
    extent: np.ndarray, pixels: int, lens: Lens, rng: np.random.Generator
) -> Float[np.ndarray, "3 5"]:
    """Three key poses before the photograph: from near enough to see details to nearly all of it."""
    smallest = min(0.9, lens.size[1] / pixels)  # so near that a pixel is a pixel
    keys = np.zeros((3, 5))
    share = rng.uniform(smallest, 0.92)
    slant = rng.normal(0, 0.25, 2) * (rng.random() < 0.5)
    for i in range(3):
        if i:
            share = np.clip(share * np.exp(rng.normal(0, 0.2) * (rng.random() < 0.7)), smallest, 0.92)
            slant = slant + rng.normal(0, 0.08, 2) * (rng.random() < 0.5)
        aim = rng.uniform(-0.5, 0.5, 2) * (1 - share) * extent
        away = share * lens.focal * extent[0]
        offset = away * np.tan(slant)
        keys[i] = [aim[0] - offset[0], aim[1] - offset[1], -away, slant[0], slant[1]]
    return keys


def plane_rays(key: Float[np.ndarray, "5"], lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """Where rays through ``pixels`` (x, y; in picture widths from the middle) meet the plane z = 0."""
    yaw, pitch = key[3], key[4]
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.cross(ahead, [0, 1, 0])
    right /= np.linalg.norm(right)
    rays = (
        pixels[..., :1] / lens.focal * right + pixels[..., 1:] / lens.focal * np.cross(ahead, right) + ahead
    )
    return key[:2] - key[2] * rays[..., :2] / rays[..., 2:]


def corners(key: Float[np.ndarray, "5"], lens: Lens, extent: np.ndarray) -> Float[np.ndarray, "4 2"]:
    """Where the corners of the picture lie on the photograph, in half sizes of it: all within [-1, 1] is good."""
    half = lens.size[0] / lens.size[1] / 2
    pixels = np.array([[-0.5, -half], [0.5, -half], [-0.5, half], [0.5, half]])
    return plane_rays(key, lens, pixels) / (extent / 2)


def render_photo(sizes: list[torch.Tensor], pose: Float[np.ndarray, "4 4"], lens: Lens) -> torch.Tensor:
    """One picture, uint8 ``[H W 3]``."""
    height, width = lens.size
    tall, wide = sizes[0].shape[2:]
    x = (np.arange(width) + 0.5 - width / 2) / (lens.focal * width)
    y = (np.arange(height) + 0.5 - height / 2) / (lens.focal * width)
    turn, eye = pose[:3, :3].astype(np.float64), pose[:3, 3].astype(np.float64)
    # every ray runs to the plane z = 0: its length is -eye_z / ray_z
    rays = turn[:, 0, None, None] * x + turn[:, 1, None, None] * y[:, None] + turn[:, 2, None, None]
    scale = -eye[2] / rays[2]
    # The world's x runs to the left of a camera that looks along z.
    across = -(eye[0] + scale * rays[0]) * 2 / WORLD_WIDTH
    along = -(eye[1] + scale * rays[1]) * 2 / (WORLD_WIDTH * tall / wide)
    # one mip level for the whole picture, by the texels between two pixels of its middle row
    texels = np.abs(np.diff(across[height // 2])).mean() * wide / 2
    level = int(np.clip(np.floor(np.log2(max(texels, 1e-6)) + 0.5), 0, len(sizes) - 1))
    grid = torch.from_numpy(np.stack([across, along], 2)[None].astype(np.float32))
    picture = F.grid_sample(sizes[level], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
