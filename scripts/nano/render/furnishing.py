"""Where furniture stands and pictures hang in a room."""

import numpy as np
from jaxtyping import Float

from scripts.nano.render.furniture import PIECES
from scripts.nano.render.lightmaps import Lamp
from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import UP, Mesh
from scripts.nano.render.walls import SIDES, Opening, wall_length, wall_view

PROGRAMS = {  # what stands along the walls (in order of importance) and in the middle
    "living": (["sofa", "dresser", "shelf", "armchair", "lamp", "plant", "chair"], ["coffee_table"]),
    "bedroom": (["bed", "dresser", "wardrobe", "lamp", "desk", "plant"], []),
    "kitchen": (["kitchen", "dresser", "plant", "shelf"], ["dining"]),
    "dining": (["dresser", "shelf", "plant", "lamp", "armchair"], ["dining"]),
    "office": (["desk", "shelf", "shelf", "armchair", "dresser", "plant"], []),
    "corridor": (["dresser", "plant"], []),
}
EXTRAS = ["chair", "shelf", "plant", "dresser", "armchair", "lamp", "wardrobe", "desk"]
Room = Float[np.ndarray, "2 3"]
Rng = np.random.Generator


def furnish(
    mesh: Mesh, room: Room, name: str, plan: dict[str, list[Opening]], looks: Looks, lamps: list[Lamp]
) -> None:
    """Put the pieces of a program where they find place, then pictures on the walls that are left."""
    rng = looks.rng
    along, middle = PROGRAMS[name]
    taken = [door_space(room, side, o) for side in SIDES for o in plan[side] if o.kind != "window"]
    for piece in along:
        if rng.random() < 0.85:
            place_along(mesh, room, piece, plan, looks, taken, lamps)
    for piece in rng.choice(EXTRAS, int(rng.integers(2, 6)) if name != "corridor" else 0):
        place_along(mesh, room, str(piece), plan, looks, taken, lamps)
    for piece in middle:
        place_middle(mesh, room, piece, looks, taken)
    for side in SIDES:
        hang_paintings(room, side, plan, mesh, rng)


def door_space(room: Room, side: str, opening: Opening) -> np.ndarray:
    """The box of floor that must stay free in front of a door."""
    view = wall_view(Mesh(), room, side)
    view.solid((opening.left - 0.1, 0, 0), (opening.right + 0.1, 2.0, 0.85))
    return np.array(view.solids[0])


def overlaps(box: np.ndarray, others: list[np.ndarray], gap: float = 0.06) -> bool:
    """Whether a box comes closer to another one than ``gap`` metres on the floor."""
    return any(
        (box[0, [0, 2]] < o[1, [0, 2]] + gap).all() and (box[1, [0, 2]] > o[0, [0, 2]] - gap).all()
        for o in others
    )


def place_along(
    mesh: Mesh,
    room: Room,
    piece: str,
    plan: dict[str, list[Opening]],
    looks: Looks,
    taken: list,
    lamps: list[Lamp],
) -> None:
    """A piece with its back to some wall, if one of 14 tries fits."""
    rng = looks.rng
    part = PIECES[piece](looks, rng)
    extent = footprint(part)
    for _ in range(14):
        side = str(rng.choice(list(SIDES)))
        half = max(-extent[0, 0], extent[1, 0])
        length = wall_length(room, side)
        if length < 2 * half + 0.1:
            continue
        x = rng.uniform(half + 0.04, length - half - 0.04)
        off = 0.02 - min(extent[0, 2], 0.0)
        probe = wall_view(Mesh(), room, side).moved((x, 0, off))
        probe.solid(*extent)
        box = np.array(probe.solids[0])
        hidden = [o for o in plan[side] if o.kind == "window" and extent[1, 1] > o.bottom + 0.15]
        blocked = any(x + half > o.left - 0.1 and x - half < o.right + 0.1 for o in hidden)
        if (
            blocked
            or overlaps(box, taken)
            or (box[1] > room[1] + 1e-6).any()
            or (box[0] < room[0] - 1e-6).any()
        ):
            continue
        taken.append(box)
        view = wall_view(mesh, room, side).moved((x, 0, off))
        view.include(part)
        if piece == "lamp":
            power = rng.uniform(0.2, 0.9) * np.array([1.0, 0.75, 0.5])
            lamps.append(Lamp(view.origin + (extent[1, 1] - 0.1) * UP, power, zone=room))
        return


def footprint(part: Mesh) -> np.ndarray:
    """The box around a piece."""
    corners = np.array([[c, c + r, c + d, c + r + d] for c, r, d, *_ in part.quads]).reshape(-1, 3)
    return np.array([corners.min(0), corners.max(0)])


def place_middle(mesh: Mesh, room: Room, piece: str, looks: Looks, taken: list) -> None:
    """A piece somewhere in the middle, often on a rug."""
    rng = looks.rng
    part = PIECES[piece](looks, rng)
    extent = footprint(part)
    centre = extent.mean(0) * [1, 0, 1]
    for _ in range(10):
        yaw = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.04)
        place = room.mean(0) * [1, 0, 1] + rng.normal(0, 0.35, 3) * [1, 0, 1]
        view = mesh.moved(place, yaw).moved(-centre)
        probe = Mesh(turn=view.turn, origin=view.origin)
        probe.solid(*extent)
        box = np.array(probe.solids[0])
        if overlaps(box, taken, 0.15) or (box[0] < room[0] - 1e-6).any() or (box[1] > room[1]).any():
            continue
        taken.append(box)
        view.include(part)
        if rng.random() < 0.7:
            size = (extent[1] - extent[0]) * 0.5 + rng.uniform(0.1, 0.5)
            rug = mesh.moved(place, yaw)
            rug.quad((-size[0], 0.008, -size[2]), (2 * size[0], 0, 0), (0, 0, 2 * size[2]), looks("rug"))
        return


def hang_paintings(room: Room, side: str, plan: dict[str, list[Opening]], mesh: Mesh, rng: Rng) -> None:
    """One to three pictures in a free stretch of wall."""
    length = wall_length(room, side)
    view = wall_view(Mesh(), room, side)
    for _ in range(int(rng.integers(0, 4))):
        wide, high = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.8)
        left, bottom = rng.uniform(0.1, max(0.11, length - wide - 0.1)), rng.uniform(1.15, 1.45)
        clear = all(left > o.right + 0.15 or left + wide < o.left - 0.15 for o in plan[side])
        box = Mesh(turn=view.turn, origin=view.origin)
        box.solid((left, bottom, 0), (left + wide, bottom + high, 0.1))
        low, top = box.solids[0]
        hidden = any(
            (low < top_corner).all() and (top > bottom_corner).all()
            for bottom_corner, top_corner in mesh.solids
        )
        if clear and not hidden and left + wide < length:
            plan[side].append(Opening("painting", left, left + wide, bottom, bottom + high))
