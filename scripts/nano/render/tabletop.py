"""Table-top scenes of robot learning: a table before a wall, things on it, an arm that moves them; a standing camera.

World: the table's top is y = 0, the camera stands at negative z and looks along z; metres.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render.camera_paths import Track, make_track, still
from scripts.nano.render.lightmaps import Lamp, Lights, bake, expose
from scripts.nano.render.manipulation import State, Table, scatter, states
from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh, Quads
from scripts.nano.render.rasteriser import Scene
from scripts.nano.render.robot_arm import Arm, build_arm, pose_arm, sample_arm
from scripts.nano.render.skins import Skins
from scripts.nano.render.things import THINGS, Thing

FIRST_THING = 7  # the bodies 1 to 6 are the arm's
LIGHT_DENSITY = 40.0
DENSITY = 3.0  # surfaces show this many times more texels a metre than in a house
Rng = np.random.Generator


@dataclass(frozen=True)
class Workplace:
    """A scene whose bodies move. ``poses_of`` gives the bodies of a state, ``frame`` the scene's look at it."""

    scene: Scene
    local: Quads  # moving quads in their bodies' own coordinates
    arm: Arm
    things: list[Thing]
    states: Iterator[State]
    track: Track
    tops: list[int]  # quads that shadows fall on
    slant: Float[np.ndarray, "2"]  # metres a shadow is displaced per metre of height


def build_workplace(rng: Rng, fps: float) -> Workplace:
    """A random table, its things, and what will happen to them."""
    skins, mesh = Skins(), Mesh()
    looks = Looks(skins, rng)
    table = Table(np.array([-0.34, -0.2]), np.array([0.34, 0.26]))
    tops = surroundings(mesh, looks)
    solids = np.array(mesh.solids)
    arm = sample_arm(rng)
    build_arm(mesh, arm, looks)
    names = rng.choice(
        list(THINGS), int(rng.integers(4, 9)), p=[0.14, 0.1, 0.14, 0.08, 0.14, 0.16, 0.14, 0.1]
    )
    things = [THINGS[str(name)](looks, rng) for name in names]
    for i, thing in enumerate(things):
        mesh.moved((0, 0, 0), body=FIRST_THING + i).include(thing.part)
    process = states(things, scatter(things, table, rng), table, rng, fps)
    for _ in range(int(rng.integers(0, 60))):  # begin in the middle of something
        first = next(process)
    first = next(process)
    local = mesh.finish()
    placed = move(local, bodies(arm, first))
    slant = rng.normal(0, 0.35, 2)
    lights = table_lights(slant, rng)
    light, at, means = bake(placed, solids, lights, LIGHT_DENSITY)
    exposure = expose(placed, skins, means, rng.uniform(0.15, 0.32))
    skins.entries[:] = [replace(s, density=s.density and s.density * DENSITY) for s in skins.entries]
    scene = Scene(local, skins, light, at, exposure, float(rng.uniform(0.1, 0.7)))
    return Workplace(scene, local, arm, things, process, camera(rng), tops, slant)


def surroundings(mesh: Mesh, looks: Looks) -> list[int]:
    """The table, the wall behind it, what stands around. Returns the quads of the table's top."""
    rng = looks.rng
    top = bright_skin(looks, ["wood", "wood", "floor", "floor", "stone", "white", "cloth"])
    side, back = rng.uniform(0.42, 0.7), rng.uniform(0.36, 0.5)
    front = -rng.uniform(0.26, 0.4)
    mesh.box((-side, -0.04, front), (side, 0, back), top, "YxXz")
    first = 0
    cupboard = looks(str(rng.choice(["wood", "white", "dark", "cupboard"])))
    mesh.box((-side + 0.02, -0.8, front + 0.02), (side - 0.02, -0.04, back), cupboard, "xXz", solid=False)
    wall = looks(str(rng.choice(["backsplash", "floor", "wall", "wood", "backsplash"])))
    mesh.quad((2.5, 1.6, back + 0.02), (-5, 0, 0), (0, -2.6, 0), wall)
    floor = looks("floor")
    mesh.quad((-2.5, -0.8, back), (5, 0, 0), (0, 0, -3), floor)  # seen from above: right x down points down
    if rng.random() < 0.7:  # a wall at one side
        x = rng.choice([-1, 1]) * (side + rng.uniform(0.05, 0.25))
        skin = looks("wall")
        if x < 0:
            mesh.quad((x, 1.6, back), (0, 0, -2), (0, -2.4, 0), skin)
        else:
            mesh.quad((x, 1.6, back - 2), (0, 0, 2), (0, -2.4, 0), skin)
    for _ in range(int(rng.integers(2, 6))):
        stand_behind(mesh, looks, side, back)
    for _ in range(int(rng.integers(0, 3))):
        stand_beside(mesh, looks, side, front)
    return [first]


def bright_skin(looks: Looks, names: list[str]) -> int:
    """A skin of one of the materials that is not so dark that a dark arm could not be seen before it."""
    skin = looks(str(looks.rng.choice(names)))
    for _ in range(4):
        if looks.skins.entries[skin].picture.mean() > 0.12:
            break
        skin = looks(str(looks.rng.choice(names)), fresh=True)
    return skin


def stand_behind(mesh: Mesh, looks: Looks, side: float, back: float) -> None:
    """A thing at the back of the table that never moves."""
    rng = looks.rng
    x = rng.uniform(-side + 0.1, side - 0.1)
    if rng.random() < 0.6:
        thing = THINGS[str(rng.choice(["can", "cup", "pan", "block"]))](looks, rng)
        mesh.moved((x, 0, back - 0.06), rng.uniform(0, 6.3)).include(thing.part)
        return
    skin = looks(str(rng.choice(["vivid", "white", "dark", "label", "oven", "metal", "wood"])))
    half, height = rng.uniform(0.05, 0.16), rng.uniform(0.1, 0.35)
    mesh.box((x - half, 0, back - 0.12), (x + half, height, back), skin)


def stand_beside(mesh: Mesh, looks: Looks, side: float, front: float) -> None:
    """A stove, a tray or a rack at one side."""
    rng = looks.rng
    sign = rng.choice([-1, 1])
    x = sign * (side - rng.uniform(0.0, 0.1))
    low, high = min(x, x + sign * 0.35), max(x, x + sign * 0.35)
    if rng.random() < 0.5:
        dark = looks(str(rng.choice(["dark", "metal", "white"])))
        mesh.box((low, -0.6, front + 0.05), (high, 0.03, 0.3), dark)
        mesh.quad((low, 0.032, 0.3), (high - low, 0, 0), (0, 0, front - 0.25), looks("hob"))
        return
    skin, wall = looks(str(rng.choice(["vivid", "white", "wood", "grey"]))), 0.012
    depth, z0, z1 = rng.uniform(0.05, 0.12), front + 0.1, 0.2
    for box in (
        ((low, 0, z0), (low + wall, depth, z1)),
        ((high - wall, 0, z0), (high, depth, z1)),
        ((low, 0, z0), (high, depth, z0 + wall)),
        ((low, 0, z1 - wall), (high, depth, z1)),
    ):
        mesh.box(*box, skin)


def table_lights(slant: np.ndarray, rng: Rng) -> Lights:
    """A lamp or window above, which throws the shadows, a fill light and what the room gives."""
    warm = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.65, 1.05)])
    main = Lamp(np.array([-2 * slant[0], 2.0, -2 * slant[1]]), rng.uniform(2, 5) * warm)
    fill = Lamp(np.array([rng.normal(0, 1), 1.0, -1.5]), rng.uniform(0.2, 1.0) * np.array([0.9, 0.95, 1.0]))
    return Lights(np.full(3, rng.uniform(0.2, 0.6)), [main, fill], [], np.zeros((0, 2, 3)), shadow_reach=0.05)


def camera(rng: Rng) -> Track:
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
        return still("static" if style < 0.6 else "handheld", first, rng, sway=style >= 0.6)
    keys = [
        key(angle + a, distance * b, slope)
        for a, b in zip([0, *rng.normal(0, 0.25, 2)], [1, *rng.uniform(0.85, 1.15, 2)], strict=True)
    ]
    return make_track("slow", np.stack(keys), float(rng.uniform(0.04, 0.15)), rng)


def bodies(arm: Arm, state: State) -> Float[np.ndarray, "b 4 4"]:
    """Body-to-world matrices of the world, the arm's parts and the things."""
    cos, sin = np.cos(state.things[:, 3]), np.sin(state.things[:, 3])
    things = np.tile(np.eye(4), (len(state.things), 1, 1))
    things[:, 0, 0], things[:, 0, 2], things[:, 2, 0], things[:, 2, 2] = cos, sin, -sin, cos
    things[:, :3, 3] = state.things[:, :3]
    return np.concatenate([pose_arm(arm, state.tip, state.opening, state.turn), things])


def move(quads: Quads, matrices: Float[np.ndarray, "b 4 4"]) -> Quads:
    """Quads of moving bodies brought to their places."""
    turn = matrices[quads.body, :3, :3].astype(np.float32)
    shift = matrices[quads.body, :3, 3].astype(np.float32)

    def turned(vectors: np.ndarray) -> np.ndarray:
        return np.einsum("qij,qj->qi", turn, vectors)

    return replace(
        quads, corner=turned(quads.corner) + shift, right=turned(quads.right), down=turned(quads.down)
    )


def shadowed(place: Workplace, state: State) -> torch.Tensor:
    """The light maps with the soft shadows of things and gripper on the table's top."""
    light = place.scene.light.clone()
    for top in place.tops:
        left, down, across, along = place.scene.light_at[top]
        columns, rows = int(across) + 1, int(along) + 1
        quads = place.scene.quads
        u, v = np.linspace(0, 1, columns)[None], np.linspace(0, 1, rows)[:, None]
        x = quads.corner[top, 0] + u * quads.right[top, 0] + v * quads.down[top, 0]
        z = quads.corner[top, 2] + u * quads.right[top, 2] + v * quads.down[top, 2]
        share = np.ones((rows, columns), np.float32)
        discs = [(*at[:3], t.radius, t.height) for at, t in zip(state.things, place.things, strict=True)]
        discs.append((*state.tip, 0.03, 0.1))
        for cx, low, cz, radius, height in discs:
            middle = low + height / 2
            gap = np.hypot(x - cx - place.slant[0] * middle, z - cz - place.slant[1] * middle)
            soft = 0.012 + 0.25 * low + 0.2 * height
            reach = radius + 0.3 * height
            strength = 0.6 * min(1.0, 0.06 / (0.02 + low))
            share *= 1 - strength / (1 + np.exp(np.clip((gap - reach) / soft, -20, 20)))
        top_y, top_x = int(down), int(left)
        light[0, :, top_y : top_y + rows, top_x : top_x + columns] *= torch.from_numpy(
            share.astype(np.float32)
        )
    return light
