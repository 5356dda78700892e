"""Plain rooms: a camera moves through a calmly textured room with boxes. Deterministic by seed.

Everything is ray-box intersection in plain tensors: the room is a box seen from inside; furniture, doors,
windows, pictures and rugs are boxes in it. Most surfaces are smooth, few carry a low-frequency pattern,
because fine random textures would dominate a loss and teach a model nothing.

    from scripts.nano.render.plain_room import render_plain_room
    clip = render_plain_room(seed=7, frames=33)      # clip.frames uint8 [33 128 160 3], clip.poses [33 4 4]
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.nano.render.camera_paths import sample_sinusoidal_path
from vidjacobi.shapes import Frames

FRAME_SIZE = (128, 160)
FPS = 25.0
FOCAL = 0.85  # focal length in picture widths: a field of view of 61 degrees
OVERSAMPLE = 1.5  # rays per pixel and axis; averaging them softens the edges
# Columns of a surface's row. Its pattern: 1 + depth * sin(wave_a . (x, y, z, 1)) * sin(wave_b . (x, y, z, 1)).
SURFACE = {
    "colour": slice(0, 3),
    "normal": slice(3, 6),
    "wave_a": slice(6, 10),
    "wave_b": slice(10, 14),
    "depth": 14,
    "glow": 15,
}


@dataclass(frozen=True)
class PlainRoom:
    """A furnished room. Surface ``6 * object + face`` is face (-x +x -y +y -z +z); object 0 is the room."""

    size: Float[Tensor, "3"]  # width, height, depth in metres; a corner lies at 0
    boxes: Float[Tensor, "k 2 3"]  # low and high corners
    surfaces: Float[Tensor, "s 16"]  # columns: see SURFACE
    light: Float[Tensor, "3"]  # place of the lamp
    ambient: float  # share of light that comes from everywhere
    solid: int  # the first boxes are furniture (they cast shadows and block cameras)


@dataclass(frozen=True)
class PlainRoomClip:
    """A rendered clip and the truth behind it."""

    frames: Frames
    poses: Float[Tensor, "T 4 4"]  # camera to world, metres, OpenCV camera axes
    focal: float  # pixels; the principal point is the picture's middle
    motion: str
    seed: int


def render_plain_room(
    seed: int, frames: int = 33, size: tuple[int, int] = FRAME_SIZE, fps: float = FPS
) -> PlainRoomClip:
    """The clip of a seed: ``frames`` frames of ``size`` (H, W) pixels at ``fps`` frames a second.

    The first frames do not depend on ``frames``: a long clip continues a short one.
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    generator = torch.Generator().manual_seed(seed)
    room = sample_room(generator)
    camera_path = sample_sinusoidal_path(room.size, room.boxes[: room.solid], generator)
    poses = camera_path.poses(frames, fps)
    pictures = torch.stack([render_frame(room, pose, size) for pose in poses])
    return PlainRoomClip(pictures, poses, FOCAL * size[1], camera_path.motion, seed)


class Dice:
    """Named random draws from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.between(0, 1) < probability

    def count(self, low: int, high: int) -> int:
        """Uniform integer in [low, high]."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def colour(self, value: tuple[float, float], saturation: tuple[float, float]) -> Tensor:
        """A colour of random hue: brightness and saturation from the given ranges."""
        hue = torch.rand((), generator=self.generator) * 6.2832
        rainbow = 0.5 + 0.5 * torch.cos(hue - torch.tensor([0.0, 2.0944, 4.1888]))
        depth = self.between(*saturation)
        return self.between(*value) * (1 - depth + depth * rainbow)


def sample_room(generator: torch.Generator) -> PlainRoom:
    """A random room: 3 to 6 pieces of furniture, 2 to 4 flat things on the walls, perhaps a rug."""
    dice = Dice(generator)
    size = torch.tensor([dice.between(3.6, 6.5), dice.between(2.4, 3.0), dice.between(3.6, 6.5)])
    furniture = [sample_furniture(size, dice) for _ in range(dice.count(3, 6))]
    flats = [sample_flat(size, dice) for _ in range(dice.count(2, 4))]
    rugs = [sample_rug(size, dice)] if dice.chance(0.4) else []
    parts = [shell_surfaces(dice)]
    parts += [box_surfaces(dice.colour((0.25, 0.95), (0.15, 0.75)), dice, 0.15) for _ in furniture]
    parts += [box_surfaces(colour, dice, 0.0, glow) for _, colour, glow in flats]
    parts += [box_surfaces(dice.colour((0.3, 0.8), (0.2, 0.7)), dice, 0.3) for _ in rugs]
    light = size * torch.tensor(
        [dice.between(0.25, 0.75), dice.between(0.78, 0.92), dice.between(0.25, 0.75)]
    )
    boxes = torch.stack(furniture + [box for box, _, _ in flats] + rugs)
    return PlainRoom(size, boxes, torch.cat(parts), light, dice.between(0.45, 0.65), len(furniture))


def sample_furniture(size: Float[Tensor, "3"], dice: Dice) -> Float[Tensor, "2 3"]:
    """A box on the floor: four times out of five against a wall, else anywhere."""
    tall = dice.chance(0.25)
    extent = torch.tensor(
        [
            dice.between(0.45, 1.6),
            dice.between(1.5, 2.1) if tall else dice.between(0.35, 1.0),
            dice.between(0.45, 1.1),
        ]
    )
    if dice.chance(0.5):
        extent = extent[[2, 1, 0]]
    low = torch.tensor([dice.between(0, 1), 0.0, dice.between(0, 1)]) * (size - extent)
    if dice.chance(0.8):
        axis, far = 2 * dice.count(0, 1), dice.chance(0.5)
        low[axis] = (size - extent)[axis] if far else 0.0
    return torch.stack([low, low + extent])


def sample_flat(size: Float[Tensor, "3"], dice: Dice) -> tuple[Tensor, Tensor, float]:
    """A door, a window or a picture on a wall: (box, colour, glow)."""
    kind = dice.count(0, 2)
    width, low, high = [
        (dice.between(0.8, 1.0), 0.0, 2.05),
        (dice.between(0.9, 1.8), dice.between(0.7, 1.0), dice.between(1.9, 2.25)),
        (dice.between(0.5, 1.3), dice.between(0.9, 1.2), dice.between(1.6, 2.1)),
    ][kind]
    axis, far = 2 * dice.count(0, 1), dice.chance(0.5)
    along = 2 - axis
    start = dice.between(0.1, float(size[along]) - width - 0.1)
    box = torch.zeros(2, 3)
    box[0, 1], box[1, 1], box[0, along], box[1, along] = low, high, start, start + width
    wall = float(size[axis])
    box[0, axis], box[1, axis] = (wall - 0.04, wall) if far else (0.0, 0.04)
    if kind == 1:
        return box, torch.tensor([0.86, 0.93, 1.0]) * dice.between(0.85, 1.0), 0.8
    return box, dice.colour((0.3, 0.95), (0.1, 0.5) if kind == 0 else (0.3, 0.8)), 0.0


def sample_rug(size: Float[Tensor, "3"], dice: Dice) -> Float[Tensor, "2 3"]:
    """A thin box on the floor."""
    extent = torch.tensor([dice.between(1.2, 2.4), 0.015, dice.between(1.0, 2.0)])
    low = torch.tensor([dice.between(0.15, 0.85), 0.0, dice.between(0.15, 0.85)]) * (size - extent)
    return torch.stack([low, low + extent])


def shell_surfaces(dice: Dice) -> Float[Tensor, "6 16"]:
    """Walls of one colour (one of them perhaps accented), a floor that is often patterned, a pale ceiling."""
    wall = dice.colour((0.65, 1.0), (0.05, 0.35))
    surfaces = box_surfaces(wall, dice, 0.0)
    surfaces[:, SURFACE["normal"]] *= -1  # seen from inside
    if dice.chance(0.3):
        accent = (0, 1, 4, 5)[dice.count(0, 3)]
        surfaces[accent, SURFACE["colour"]] = dice.colour((0.4, 0.9), (0.2, 0.6))
    warm = torch.tensor([1.0, dice.between(0.72, 0.95), dice.between(0.5, 0.9)])
    surfaces[2, SURFACE["colour"]] = dice.between(0.35, 0.8) * warm
    surfaces[3, SURFACE["colour"]] = dice.between(0.85, 1.0)
    if dice.chance(0.5):
        set_pattern(surfaces[2], (0, 2), dice)
    return surfaces


def box_surfaces(colour: Tensor, dice: Dice, patterned: float, glow: float = 0.0) -> Float[Tensor, "6 16"]:
    """The six faces of a box, seen from outside; with probability ``patterned`` they carry a soft pattern."""
    surfaces = torch.zeros(6, 16)
    surfaces[:, SURFACE["colour"]] = colour
    surfaces[:, SURFACE["glow"]] = glow
    for face in range(6):
        surfaces[face, 3 + face // 2] = 1.0 if face % 2 else -1.0
    if dice.chance(patterned):
        for axis in range(3):
            along = [other for other in range(3) if other != axis]
            set_pattern(surfaces[2 * axis], (along[0], along[1]), dice)
            surfaces[2 * axis + 1, 6:15] = surfaces[2 * axis, 6:15]
    return surfaces


def set_pattern(surface: Float[Tensor, "16"], along: tuple[int, int], dice: Dice) -> None:
    """Write soft stripes or checks into one surface's row: wavelength 0.5 to 1.2 m, depth 6 to 16 %."""
    waves = torch.zeros(2, 4)
    waves[0, along[0]] = 6.2832 / dice.between(0.5, 1.2)
    waves[:, 3] = torch.tensor([dice.between(0, 6.28), dice.between(0, 6.28)])
    if dice.chance(0.5):
        waves[1, along[1]] = 6.2832 / dice.between(0.5, 1.2)
    else:
        waves[1, 3] = 1.5708  # the second factor is 1: stripes
    surface[SURFACE["wave_a"]], surface[SURFACE["wave_b"]] = waves[0], waves[1]
    surface[SURFACE["depth"]] = dice.between(0.06, 0.16)


def render_frame(room: PlainRoom, pose: Float[Tensor, "4 4"], size: tuple[int, int]) -> Tensor:
    """One picture, uint8 ``[H W 3]``, of the room seen from ``pose``."""
    tall, wide = round(size[0] * OVERSAMPLE), round(size[1] * OVERSAMPLE)
    rays = pose[:3, :3] @ camera_rays(tall, wide)
    eye = pose[:3, 3]
    distance, surface = trace(room, eye, rays)
    colours = shade(room, eye[:, None] + distance * rays, surface)
    picture = torch.nn.functional.interpolate(
        colours.view(1, 3, tall, wide), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)


def camera_rays(tall: int, wide: int) -> Float[Tensor, "3 n"]:
    """Directions (x right, y down, z 1) through the pixel centres, row by row."""
    x = (torch.arange(wide) + 0.5 - wide / 2) / (FOCAL * wide)
    y = (torch.arange(tall) + 0.5 - tall / 2) / (FOCAL * wide)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten(), torch.ones(tall * wide)])


def trace(
    room: PlainRoom, eye: Float[Tensor, "3"], rays: Float[Tensor, "3 n"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Distance along each ray to the first surface, and that surface's number.

    The slab test: a ray enters a box at the last of its entries between the planes of the three axes, and leaves at
    the first exit. The room is left, the other boxes are entered.
    """
    rays = torch.where(rays.abs() < 1e-6, 1e-6, rays)  # no division by 0 for rays along an axis
    inverse, ahead = 1 / rays, rays > 0
    leave = torch.where(ahead, (room.size - eye)[:, None], -eye[:, None]) * inverse
    distance, axis = leave.min(0)
    surface = 2 * axis + ahead.gather(0, axis[None])[0]
    near_face = torch.where(ahead, 0, 1)  # a ray that runs towards +x meets the -x face
    for number, box in enumerate(room.boxes):
        low, high = ((box - eye)[:, :, None] * inverse).unbind(0)
        enter, axis = torch.minimum(low, high).max(0)
        hit = (enter < torch.maximum(low, high).amin(0)) & (enter > 0) & (enter < distance)
        if hit.any():
            face = 6 * (number + 1) + 2 * axis + near_face.gather(0, axis[None])[0]
            distance, surface = torch.where(hit, enter, distance), torch.where(hit, face, surface)
    return distance, surface


def shade(room: PlainRoom, points: Float[Tensor, "3 n"], surface: Int[Tensor, " n"]) -> Float[Tensor, "3 n"]:
    """Colours in [0, 1]: pattern, lamp with falling-off light, darker corners and contact shadows."""
    table = room.surfaces.t()[:, surface]
    waves = [
        (table[key][:3] * points).sum(0) + table[key][3] for key in (SURFACE["wave_a"], SURFACE["wave_b"])
    ]
    pattern = 1 + table[SURFACE["depth"]] * waves[0].sin() * waves[1].sin()
    to_light = room.light[:, None] - points
    squared = (to_light * to_light).sum(0)
    facing = ((table[SURFACE["normal"]] * to_light).sum(0) * squared.rsqrt()).clamp(min=0)
    lamp = (0.35 + 0.65 * facing) * (1.5 / (1 + 0.12 * squared))
    margin = torch.minimum(points, room.size[:, None] - points).clamp(min=0)
    corners = (1 - 0.22 * torch.exp(-margin / 0.35)).prod(0) / 0.78  # a wall is at distance 0 from itself
    bright = (room.ambient + (1 - room.ambient) * lamp) * corners * floor_shadow(room, points, surface)
    glow = table[SURFACE["glow"]]
    return table[SURFACE["colour"]] * pattern * (bright * (1 - glow) + glow)


def floor_shadow(
    room: PlainRoom, points: Float[Tensor, "3 n"], surface: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Factor in (0, 1]: the floor darkens softly around the feet of the furniture."""
    factor = torch.ones(points.shape[1])
    floor = (surface == 2).nonzero()[:, 0]
    x, z = points[0, floor], points[2, floor]
    shadow = torch.ones_like(x)
    for low, high in room.boxes[: room.solid]:
        across = torch.maximum(low[0] - x, x - high[0]).clamp(min=0)
        along = torch.maximum(low[2] - z, z - high[2]).clamp(min=0)
        shadow = shadow * (1 - 0.35 * torch.exp(-(across * across + along * along) / 0.06))
    factor[floor] = shadow
    return factor
