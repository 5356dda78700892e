"""Single pictures of a named kind of scene, taken so that one sees what makes it that kind. Deterministic by seed.

    from scripts.nano.render.scene_pictures import render_views
    pictures = render_views(seed=7, label="kitchen", count=4)     # uint8 [4 128 160 3] of one kitchen

A room has one piece of furniture that names it; the camera stands in front of that piece, more or less. Textures,
light and softness are those of nano's clips, so that nano's tokenizer codes them well.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render.camera_paths import FreeSpace, look_along
from scripts.nano.render.house import assemble, illuminate_house, plan_openings, shell
from scripts.nano.render.lightmaps import Lamp
from scripts.nano.render.materials import Materials
from scripts.nano.render.plain_room import FPS, FRAME_SIZE
from scripts.nano.render.rasteriser import Lens, Scene, render
from scripts.nano.render.room_interior import (
    SIDES,
    Opening,
    RoomBox,
    door_space,
    hang_paintings,
    place_along,
    place_middle,
)
from scripts.nano.render.scenes import SOFTNESS
from scripts.nano.render.softening import soften_frames, soften_scene
from scripts.nano.render.tabletop import (
    body_matrices,
    build_tabletop,
    light_with_shadows,
    place_quads,
    sample_camera,
)
from scripts.nano.render.textured_quads import Mesh, Rng, Textures
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

SALT = 4  # keeps the random numbers apart from those of the clips
TRIES = 60  # camera places in a room before another room is built
WALL_MARGIN = 0.3  # metres between a camera and the walls
BUILDS = 40  # rooms that are built before a seed is given up


@dataclass(frozen=True)
class Program:
    """What is in a room.

    Attributes:
        focus: the piece that names the room.
        beside: what else may stand along its walls.
        in_middle: whether the focus stands in the middle instead of along a wall.
        copies: how many of the focus there are.
        sides: the room's length and width in metres, from and to.
    """

    focus: str
    beside: tuple[str, ...]
    in_middle: bool = False
    copies: int = 1
    sides: tuple[float, float] = (3.8, 5.2)


PROGRAMS = {
    "bedroom": Program("bed", ("wardrobe", "dresser")),
    "dining_room": Program("dining", ("dresser", "plant", "shelf"), in_middle=True, sides=(4.4, 5.6)),
    "kitchen": Program("kitchen", ("plant", "chair")),
    "library": Program("shelf", ("armchair", "lamp"), copies=8),
    "living_room": Program("sofa", ("lamp", "plant", "armchair")),
    "office": Program("desk", ("shelf", "plant")),
}


@dataclass(frozen=True)
class Room:
    """A furnished room and where its focus stands: the box around it, and the direction from which it is seen."""

    scene: Scene
    box: RoomBox
    solids: Float[np.ndarray, "k 2 3"]
    focus: RoomBox
    front: Float[np.ndarray, "3"]


def render_views(seed: int, label: str, count: int, size: tuple[int, int] = FRAME_SIZE) -> Frames:
    """``count`` pictures of the scene of a seed and label: uint8 ``[count H W 3]``, of ``size`` (H, W) pixels.

    They depend on ``count`` too: where a room has no place for so many cameras, another is built.
    Raises InvalidArgument for a label that does not exist.
    """
    view = lookup("label of a picture", label, LABELS)
    rng = np.random.default_rng([seed, SALT, list(LABELS).index(label)])
    return soften_frames(torch.stack(view(label, count, size, rng)), SOFTNESS)


def room_views(label: str, count: int, size: tuple[int, int], rng: Rng) -> list[torch.Tensor]:
    """Views of a room's focus."""
    for _ in range(BUILDS):
        room = build_room(PROGRAMS[label], rng)
        found = [] if room is None else [camera_before(room, rng) for _ in range(count)]
        poses = [pose for pose in found if pose is not None]
        if room is not None and len(poses) == count:
            scene, lens = soften_scene(room.scene, SOFTNESS), Lens(size, float(rng.uniform(0.55, 0.7)))
            return [render(scene, pose, lens) for pose in poses]
    raise RuntimeError(f"no room of the kind {label} has a free place for a camera: use less furniture")


def build_room(program: Program, rng: Rng) -> Room | None:
    """A random room with a program; None where its focus did not fit."""
    textures, mesh = Textures(), Mesh()
    materials = Materials(textures, rng)
    width, length = rng.uniform(*program.sides, 2)
    room = np.array([[0, 0, 0], [width, rng.uniform(2.35, 2.8), length]])
    plan = plan_openings(room, 0, rng, None)
    lamps: list[Lamp] = []
    taken = [door_space(room, side, o) for side in SIDES for o in plan[side] if o.kind != "window"]
    doors = len(taken)
    for _ in range(program.copies):
        if program.in_middle:
            place_middle(mesh, room, program.focus, materials, taken)
        else:
            place_along(mesh, room, program.focus, plan, materials, taken, lamps)
    if len(taken) == doors:
        return None
    focus = taken[doors]
    for piece in program.beside:
        if rng.random() < 0.6:
            place_along(mesh, room, piece, plan, materials, taken, lamps)
    front = any_side(rng) if program.in_middle else away_from_wall(focus, room)
    return finish_room(room, focus, front, mesh, plan, materials, lamps)


def finish_room(
    room: RoomBox,
    focus: RoomBox,
    front: np.ndarray,
    mesh: Mesh,
    plan: dict[str, list[Opening]],
    materials: Materials,
    lamps: list[Lamp],
) -> Room:
    """Pictures on the walls, the walls, and the light."""
    rng = materials.rng
    for side in SIDES:
        hang_paintings(room, side, plan, mesh, rng)
    shell(mesh, room, plan, materials)
    solids = np.array(mesh.solids) if mesh.solids else np.zeros((0, 2, 3))
    lights = illuminate_house([room], [plan], lamps, rng)
    return Room(assemble(mesh, materials.textures, solids, lights, rng), room, solids, focus, front)


def any_side(rng: Rng) -> Float[np.ndarray, "3"]:
    """A horizontal direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), 0, np.cos(angle)])


def away_from_wall(focus: RoomBox, room: RoomBox) -> Float[np.ndarray, "3"]:
    """The direction into the room from the wall that a piece stands at: the nearest one."""
    gaps = np.concatenate([focus[0, [0, 2]] - room[0, [0, 2]], room[1, [0, 2]] - focus[1, [0, 2]]])
    normals = np.array([[1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 0, -1]], float)
    return normals[int(gaps.argmin())]


def camera_before(room: Room, rng: Rng) -> Float[np.ndarray, "4 4"] | None:
    """A free place before the focus, looking at it; None if there is none."""
    space = FreeSpace(np.array([[room.box[0] + WALL_MARGIN, room.box[1] - WALL_MARGIN]]), room.solids, 0.15)
    middle, aside = room.focus.mean(0), np.array([room.front[2], 0, -room.front[0]])
    half = abs((room.focus[1] - room.focus[0]) @ np.abs(room.front)) / 2
    for _ in range(TRIES):
        away = half + rng.uniform(1.5, 2.7)
        eye = middle + away * room.front + rng.normal(0, 0.5) * aside
        eye[1] = rng.uniform(1.25, 1.65)
        if not space.free(eye[None]):
            continue
        target = middle + rng.normal(0, 0.2) * aside
        target[1] = rng.uniform(0.7, 0.95)
        return pose_of(eye, target)
    return None


def pose_of(eye: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """The upright camera at ``eye`` that looks at ``target``."""
    ahead = torch.from_numpy(target - eye).float()[None]
    return look_along(torch.from_numpy(eye).float()[None], ahead)[0].numpy()


def corridor_views(label: str, count: int, size: tuple[int, int], rng: Rng) -> list[torch.Tensor]:
    """Views along a long and narrow room with doors."""
    textures, mesh = Textures(), Mesh()
    materials = Materials(textures, rng)
    room = np.array([[0, 0, 0], [rng.uniform(1.4, 1.9), rng.uniform(2.35, 2.7), rng.uniform(5.5, 8.0)]])
    plan = plan_openings(room, 0, rng, None)
    for side in "xX":  # doors along both sides, and no windows there
        starts = np.arange(rng.uniform(0.6, 1.4), room[1, 2] - 1.0, rng.uniform(1.5, 2.4))
        plan[side] = [Opening("door", start, start + 0.86, 0.0, 2.03) for start in starts]
    end = np.array([[0.0, 0, 0], [room[1, 0], room[1, 1], 0.1]])
    built = finish_room(room, end, np.array([0.0, 0, 1]), mesh, plan, materials, [])
    scene, lens = soften_scene(built.scene, SOFTNESS), Lens(size, float(rng.uniform(0.55, 0.7)))
    pictures = []
    for _ in range(count):
        eye = np.array([room[1, 0] * rng.uniform(0.35, 0.65), rng.uniform(1.3, 1.6), 0.0])
        eye[2] = room[1, 2] - rng.uniform(0.35, 1.2)
        target = np.array([room[1, 0] * rng.uniform(0.3, 0.7), rng.uniform(0.9, 1.2), 0.0])
        pictures.append(render(scene, pose_of(eye, target), lens))
    return pictures


def table_views(label: str, count: int, size: tuple[int, int], rng: Rng) -> list[torch.Tensor]:
    """Views of a robot's arm over a table with things, each a moment later."""
    tabletop = build_tabletop(rng, FPS)
    soft, lens = soften_scene(tabletop.scene, SOFTNESS), Lens(size, float(rng.uniform(0.75, 1.0)))
    pictures = []
    for _ in range(count):
        state = next(tabletop.states)
        pose = sample_camera(rng).poses(1, FPS)[0].numpy()
        scene = replace(soft, light=light_with_shadows(tabletop, state))
        pictures.append(
            render(scene, pose, lens, place_quads(tabletop.local, body_matrices(tabletop.arm, state)))
        )
        for _ in range(8):
            next(tabletop.states)
    return pictures


# in the order of their class numbers, which are part of a trained model
LABELS: dict[str, Callable[[str, int, tuple[int, int], Rng], list[torch.Tensor]]] = {
    "bedroom": room_views,
    "corridor": corridor_views,
    "dining_room": room_views,
    "kitchen": room_views,
    "library": room_views,
    "living_room": room_views,
    "office": room_views,
    "tabletop": table_views,
}
