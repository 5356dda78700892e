"""Table-top scenes of robot learning: a table before a wall, objects on it, an arm that moves them.

World: the table's top is y = 0, the camera stands at negative z (a few move) and looks along z; metres.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render.camera_paths import CameraPath, key_pose_path, standing_camera
from scripts.nano.render.lightmaps import Lamp, Lights, bake, expose
from scripts.nano.render.materials import Materials
from scripts.nano.render.rasteriser import Scene
from scripts.nano.render.robot_arm import (
    Arm,
    TableState,
    Workspace,
    build_arm,
    pose_arm,
    sample_arm,
    scatter,
    simulate_table,
)
from scripts.nano.render.small_objects import TABLE_OBJECTS, TableObject
from scripts.nano.render.textured_quads import Mesh, Quads, Rng, Textures

FIRST_OBJECT = 7  # the bodies 1 to 6 are the arm's
LIGHT_DENSITY = 40.0  # points of the light maps a metre
FINER = 3.0  # surfaces show this many times more texels a metre than in a house


@dataclass(frozen=True)
class Tabletop:
    """A scene whose bodies move: ``states`` yields what is where, frame by frame."""

    scene: Scene
    local: Quads  # moving quads in their bodies' own coordinates
    arm: Arm
    objects: list[TableObject]
    states: Iterator[TableState]
    camera_path: CameraPath
    tops: list[int]  # quads that shadows fall on
    slant: Float[np.ndarray, "2"]  # metres a shadow is displaced per metre of height


def build_tabletop(rng: Rng, fps: float) -> Tabletop:
    """A random table, its objects, and what will happen to them."""
    textures, mesh = Textures(), Mesh()
    materials = Materials(textures, rng)
    workspace = Workspace(np.array([-0.34, -0.2]), np.array([0.34, 0.26]))
    tops = build_surroundings(mesh, materials)
    solids = np.array(mesh.solids)
    arm = sample_arm(rng)
    build_arm(mesh, arm, materials)
    names = rng.choice(
        list(TABLE_OBJECTS), int(rng.integers(4, 9)), p=[0.14, 0.1, 0.14, 0.08, 0.14, 0.16, 0.14, 0.1]
    )
    objects = [TABLE_OBJECTS[str(name)](materials, rng) for name in names]
    for i, item in enumerate(objects):
        mesh.moved((0, 0, 0), body=FIRST_OBJECT + i).include(item.part)
    process = simulate_table(objects, scatter(objects, workspace, rng), workspace, rng, fps)
    for _ in range(int(rng.integers(0, 60))):  # begin in the middle of something
        first = next(process)
    first = next(process)
    local = mesh.finish()
    placed = place_quads(local, body_matrices(arm, first))
    slant = rng.normal(0, 0.35, 2)
    lights = table_lights(slant, rng)
    light, at, means = bake(placed, solids, lights, LIGHT_DENSITY)
    exposure = expose(placed, textures, means, rng.uniform(0.15, 0.32))
    textures.entries[:] = [replace(t, density=t.density and t.density * FINER) for t in textures.entries]
    scene = Scene(local, textures, light, at, exposure, float(rng.uniform(0.1, 0.7)))
    return Tabletop(scene, local, arm, objects, process, sample_camera(rng), tops, slant)


def build_surroundings(mesh: Mesh, materials: Materials) -> list[int]:
    """The table, the wall behind it, what stands around. Returns the quads of the table's top."""
    rng = materials.rng
    top = bright_texture(materials, ["wood", "wood", "floor", "floor", "stone", "white", "cloth"])
    side, back = rng.uniform(0.42, 0.7), rng.uniform(0.36, 0.5)
    front = -rng.uniform(0.26, 0.4)
    mesh.box((-side, -0.04, front), (side, 0, back), top, "YxXz")
    first = 0
    cupboard = materials(str(rng.choice(["wood", "white", "dark", "cupboard"])))
    mesh.box((-side + 0.02, -0.8, front + 0.02), (side - 0.02, -0.04, back), cupboard, "xXz", solid=False)
    wall = materials(str(rng.choice(["backsplash", "floor", "wall", "wood", "backsplash"])))
    mesh.quad((2.5, 1.6, back + 0.02), (-5, 0, 0), (0, -2.6, 0), wall)
    floor = materials("floor")
    mesh.quad((-2.5, -0.8, back), (5, 0, 0), (0, 0, -3), floor)  # seen from above: right x down points down
    if rng.random() < 0.7:  # a wall at one side
        x = rng.choice([-1, 1]) * (side + rng.uniform(0.05, 0.25))
        texture = materials("wall")
        if x < 0:
            mesh.quad((x, 1.6, back), (0, 0, -2), (0, -2.4, 0), texture)
        else:
            mesh.quad((x, 1.6, back - 2), (0, 0, 2), (0, -2.4, 0), texture)
    for _ in range(int(rng.integers(2, 6))):
        stand_behind(mesh, materials, side, back)
    for _ in range(int(rng.integers(0, 3))):
        stand_beside(mesh, materials, side, front)
    return [first]


def bright_texture(materials: Materials, names: list[str]) -> int:
    """A texture of one of the materials that is not so dark that a dark arm could not be seen before it."""
    texture = materials(str(materials.rng.choice(names)))
    for _ in range(4):
        if materials.textures.entries[texture].picture.mean() > 0.12:
            break
        texture = materials(str(materials.rng.choice(names)), fresh=True)
    return texture


def stand_behind(mesh: Mesh, materials: Materials, side: float, back: float) -> None:
    """An object at the back of the table that never moves."""
    rng = materials.rng
    x = rng.uniform(-side + 0.1, side - 0.1)
    if rng.random() < 0.6:
        item = TABLE_OBJECTS[str(rng.choice(["can", "cup", "pan", "block"]))](materials, rng)
        mesh.moved((x, 0, back - 0.06), rng.uniform(0, 6.3)).include(item.part)
        return
    texture = materials(str(rng.choice(["vivid", "white", "dark", "label", "oven", "metal", "wood"])))
    half, height = rng.uniform(0.05, 0.16), rng.uniform(0.1, 0.35)
    mesh.box((x - half, 0, back - 0.12), (x + half, height, back), texture)


def stand_beside(mesh: Mesh, materials: Materials, side: float, front: float) -> None:
    """A stove, a tray or a rack at one side."""
    rng = materials.rng
    sign = rng.choice([-1, 1])
    x = sign * (side - rng.uniform(0.0, 0.1))
    low, high = min(x, x + sign * 0.35), max(x, x + sign * 0.35)
    if rng.random() < 0.5:
        dark = materials(str(rng.choice(["dark", "metal", "white"])))
        mesh.box((low, -0.6, front + 0.05), (high, 0.03, 0.3), dark)
        mesh.quad((low, 0.032, 0.3), (high - low, 0, 0), (0, 0, front - 0.25), materials("hob"))
        return
    texture, wall = materials(str(rng.choice(["vivid", "white", "wood", "grey"]))), 0.012
    depth, z0, z1 = rng.uniform(0.05, 0.12), front + 0.1, 0.2
    for box in (
        ((low, 0, z0), (low + wall, depth, z1)),
        ((high - wall, 0, z0), (high, depth, z1)),
        ((low, 0, z0), (high, depth, z0 + wall)),
        ((low, 0, z1 - wall), (high, depth, z1)),
    ):
        mesh.box(*box, texture)


def table_lights(slant: np.ndarray, rng: Rng) -> Lights:
    """A lamp or window above, which throws the shadows, a fill light and what the room gives."""
    warm = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.65, 1.05)])
    main = Lamp(np.array([-2 * slant[0], 2.0, -2 * slant[1]]), rng.uniform(2, 5) * warm)
    fill = Lamp(np.array([rng.normal(0, 1), 1.0, -1.5]), rng.uniform(0.2, 1.0) * np.array([0.9, 0.95, 1.0]))
    return Lights(
        np.full(3, rng.uniform(0.2, 0.6)), [main, fill], [], np.zeros((0, 2, 3)), occlusion_reach=0.05
    )


def sample_camera(rng: Rng) -> CameraPath:
    """Mostly a camera that stands; some sway, some move slowly."""
    distance, slope = rng.uniform(0.6, 0.95), rng.uniform(0.55, 1.0)
    angle = rng.normal(0, 0.5)

    def key(angle: float, distance: float, slope: float) -> np.ndarray:
        flat = distance * np.cos(slope)
        place = [-flat * np.sin(angle), distance * np.sin(slope), 0.06 - flat * np.cos(angle)]
        return np.array([*place, angle + 0.0, -slope])

    first = key(angle, distance, slope)
    first[3:] += rng.normal(0, 0.04, 2)
    style = rng.random()
    if style < 0.8:
        return standing_camera("static" if style < 0.6 else "handheld", first, rng, sway=style >= 0.6)
    keys = [
        key(angle + a, distance * b, slope)
        for a, b in zip([0, *rng.normal(0, 0.25, 2)], [1, *rng.uniform(0.85, 1.15, 2)], strict=True)
    ]
    return key_pose_path("slow", np.stack(keys), float(rng.uniform(0.04, 0.15)), rng)


def body_matrices(arm: Arm, state: TableState) -> Float[np.ndarray, "b 4 4"]:
    """Body-to-world matrices of the world itself, the arm's parts and the objects, by the numbers of the bodies."""
    # index 0 is the world, 1 to 6 the arm, then the objects
    cos, sin = np.cos(state.objects[:, 3]), np.sin(state.objects[:, 3])
    objects = np.tile(np.eye(4), (len(state.objects), 1, 1))
    objects[:, 0, 0], objects[:, 0, 2], objects[:, 2, 0], objects[:, 2, 2] = cos, sin, -sin, cos
    objects[:, :3, 3] = state.objects[:, :3]
    return np.concatenate([pose_arm(arm, state.tip, state.opening, state.turn), objects])


def place_quads(quads: Quads, matrices: Float[np.ndarray, "b 4 4"]) -> Quads:
    """Quads of moving bodies brought to their places."""
    turn = matrices[quads.body, :3, :3].astype(np.float32)
    shift = matrices[quads.body, :3, 3].astype(np.float32)

    def turned(vectors: np.ndarray) -> np.ndarray:
        return np.einsum("qij,qj->qi", turn, vectors)

    return replace(
        quads, corner=turned(quads.corner) + shift, right=turned(quads.right), down=turned(quads.down)
    )


def light_with_shadows(tabletop: Tabletop, state: TableState) -> torch.Tensor:
    """The light maps with the soft shadows of objects and gripper on the table's top.

    Each shadow is a disc displaced along ``slant``, whose edge is a logistic curve: the softer and fainter the higher
    the object stands. Shadows multiply.
    """
    light = tabletop.scene.light.clone()
    for top in tabletop.tops:
        left, down, across, along = tabletop.scene.light_at[top]
        columns, rows = int(across) + 1, int(along) + 1
        quads = tabletop.scene.quads
        u, v = np.linspace(0, 1, columns)[None], np.linspace(0, 1, rows)[:, None]
        x = quads.corner[top, 0] + u * quads.right[top, 0] + v * quads.down[top, 0]
        z = quads.corner[top, 2] + u * quads.right[top, 2] + v * quads.down[top, 2]
        share = np.ones((rows, columns), np.float32)
        discs = [(*at[:3], t.radius, t.height) for at, t in zip(state.objects, tabletop.objects, strict=True)]
        discs.append((*state.tip, 0.03, 0.1))
        for cx, low, cz, radius, height in discs:
            middle = low + height / 2
            gap = np.hypot(x - cx - tabletop.slant[0] * middle, z - cz - tabletop.slant[1] * middle)
            soft = 0.012 + 0.25 * low + 0.2 * height
            reach = radius + 0.3 * height
            strength = 0.6 * min(1.0, 0.06 / (0.02 + low))
            share *= 1 - strength / (1 + np.exp(np.clip((gap - reach) / soft, -20, 20)))
        top_y, top_x = int(down), int(left)
        light[0, :, top_y : top_y + rows, top_x : top_x + columns] *= torch.from_numpy(
            share.astype(np.float32)
        )
    return light
