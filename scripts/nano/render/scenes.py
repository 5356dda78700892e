"""All kinds of rendered clips and how often each occurs in the training data. Deterministic by seed alone.

    from scripts.nano.render.scenes import render_clip
    clip = render_clip(seed=7, frames=33)                  # a kind drawn by MIXTURE
    clip = render_clip(seed=7, frames=33, kind="house")    # clip.frames uint8 [33 128 160 3], clip.poses [33 4 4]

``python scripts/nano preview`` shows them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render import plain_room
from scripts.nano.render.house import build_house, sample_house_path
from scripts.nano.render.photos import render_photo, sample_photo
from scripts.nano.render.plain_room import FPS, FRAME_SIZE
from scripts.nano.render.rasteriser import Lens, intrinsics, render
from scripts.nano.render.softening import check_softness, soften_frames, soften_scene
from scripts.nano.render.tabletop import body_matrices, build_tabletop, light_with_shadows, place_quads
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

MIXTURE = {"house": 0.5, "tabletop": 0.25, "photo": 0.15, "plain_room": 0.1}
REVERSIBLE = ("house", "photo", "plain_room")  # as true when run backwards: nothing is pushed or falls
SALT = {"house": 1, "tabletop": 2, "photo": 3}  # keeps the random numbers of the kinds apart
# of house and tabletop, see softening.py: 0 is full texture and contrast; nano is trained on 1
SOFTNESS = 1.0


@dataclass(frozen=True)
class RenderedClip:
    """A rendered clip and the truth behind it."""

    frames: Frames
    poses: Float[torch.Tensor, "T 4 4"]  # camera to world, metres, OpenCV camera axes
    intrinsics: Float[torch.Tensor, "3 3"]  # in pixels
    kind: str
    motion: str
    seed: int


@dataclass(frozen=True)
class Shot:
    """How a clip is taken."""

    frames: int
    size: tuple[int, int]  # (H, W) in pixels
    softness: float


def render_clip(
    seed: int,
    frames: int = 33,
    size: tuple[int, int] = FRAME_SIZE,
    kind: str | None = None,
    softness: float = SOFTNESS,
) -> RenderedClip:
    """The clip of a seed and kind: ``frames`` frames of ``size`` (H, W) pixels at 25 frames a second.

    Without a kind, the seed draws one by ``MIXTURE``. The first frames do not depend on ``frames``: a long clip
    continues a short one. ``softness`` in [0, 1] changes how a house or table looks, never where things are.
    Raises InvalidArgument for a kind that does not exist, for fewer than 1 frame and for another softness.
    """
    if frames < 1:
        raise InvalidArgument(f"frames must be at least 1, got {frames}")
    kind = kind or draw_kind(seed, MIXTURE)
    return lookup("kind of clip", kind, KINDS)(seed, Shot(frames, size, check_softness(softness)))


def draw_kind(seed: int, mixture: dict[str, float]) -> str:
    """The kind that a seed stands for in a mixture of kinds."""
    shares = np.array(list(mixture.values()))
    return str(np.random.default_rng([seed, 0]).choice(list(mixture), p=shares / shares.sum()))


def house_clip(seed: int, shot: Shot) -> RenderedClip:
    """A camera that moves through furnished rooms."""
    rng = np.random.default_rng([seed, SALT["house"]])
    house = build_house(rng)
    camera_path = sample_house_path(house.rooms, house.door, house.solids, rng)
    lens = Lens(shot.size, float(rng.uniform(0.5, 0.85)))
    poses = camera_path.poses(shot.frames, FPS)
    scene = soften_scene(house.scene, shot.softness)
    pictures = soften_frames(
        torch.stack([render(scene, pose, lens) for pose in poses.numpy()]), shot.softness
    )
    return RenderedClip(pictures, poses, intrinsics(lens), "house", camera_path.motion, seed)


def tabletop_clip(seed: int, shot: Shot) -> RenderedClip:
    """A robot arm that moves things on a table."""
    rng = np.random.default_rng([seed, SALT["tabletop"]])
    tabletop = build_tabletop(rng, FPS)
    lens = Lens(shot.size, float(rng.uniform(0.75, 1.0)))
    poses = tabletop.camera_path.poses(shot.frames, FPS)
    soft = soften_scene(tabletop.scene, shot.softness)
    pictures = []
    for pose, state in zip(poses.numpy(), tabletop.states, strict=False):
        scene = replace(soft, light=light_with_shadows(tabletop, state))
        quads = place_quads(tabletop.local, body_matrices(tabletop.arm, state))
        pictures.append(render(scene, pose, lens, quads))
    frames = soften_frames(torch.stack(pictures), shot.softness)
    return RenderedClip(frames, poses, intrinsics(lens), "tabletop", tabletop.camera_path.motion, seed)


def photo_clip(seed: int, shot: Shot) -> RenderedClip:
    """A camera move over a photograph."""
    rng = np.random.default_rng([seed, SALT["photo"]])
    lens = Lens(shot.size, 0.85)
    sizes, camera_path = sample_photo(rng, lens)
    poses = camera_path.poses(shot.frames, FPS)
    pictures = torch.stack([render_photo(sizes, pose, lens) for pose in poses.numpy()])
    return RenderedClip(pictures, poses, intrinsics(lens), "photo", camera_path.motion, seed)


def plain_room_clip(seed: int, shot: Shot) -> RenderedClip:
    """The first generator's calm rooms of single boxes (plain_room.py), unchanged."""
    clip = plain_room.render_plain_room(seed, shot.frames, shot.size)
    lens = Lens(shot.size, plain_room.FOCAL)
    return RenderedClip(clip.frames, clip.poses, intrinsics(lens), "plain_room", clip.motion, seed)


KINDS: dict[str, Callable[[int, Shot], RenderedClip]] = {
    "house": house_clip,
    "tabletop": tabletop_clip,
    "photo": photo_clip,
    "plain_room": plain_room_clip,
}
