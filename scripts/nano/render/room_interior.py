"""The inside of one room: its walls with doors and windows, furniture along them, pictures on what is left.

A wall's own coordinates: x along it from its left end as seen from the room, y up, z into the room.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.furniture import PIECES
from scripts.nano.render.lightmaps import Lamp
from scripts.nano.render.materials import Materials
from scripts.nano.render.textured_quads import UP, Mesh, Rng

WALL_THICKNESS = 0.12  # metres
RoomBox = Float[np.ndarray, "2 3"]
SIDES = "xXzZ"  # the walls at the low x, high x, low z, high z end
PROGRAMS = {  # what stands along the walls (in order of importance) and in the middle
    "living": (["sofa", "dresser", "shelf", "armchair", "lamp", "plant", "chair"], ["coffee_table"]),
    "bedroom": (["bed", "dresser", "wardrobe", "lamp", "desk", "plant"], []),
    "kitchen": (["kitchen", "dresser", "plant", "shelf"], ["dining"]),
    "dining": (["dresser", "shelf", "plant", "lamp", "armchair"], ["dining"]),
    "office": (["desk", "shelf", "shelf", "armchair", "dresser", "plant"], []),
    "corridor": (["dresser", "plant"], []),
}
EXTRAS = ["chair", "shelf", "plant", "dresser", "armchair", "lamp", "wardrobe", "desk"]


@dataclass(frozen=True)
class Opening:
    """A hole in a wall ("window", "doorway"), or something flat on it ("door", "painting")."""

    kind: str
    left: float
    right: float
    bottom: float
    top: float

    @property
    def is_hole(self) -> bool:
        """Whether one can see through it."""
        return self.kind in ("window", "doorway")


def wall_mesh(mesh: Mesh, room: RoomBox, side: str) -> Mesh:
    """The mesh, seen in the coordinates of one wall."""
    low, high = room
    origin, yaw = {
        "z": ((low[0], 0, low[2]), 0.0),
        "Z": ((high[0], 0, high[2]), np.pi),
        "x": ((low[0], 0, high[2]), np.pi / 2),
        "X": ((high[0], 0, low[2]), -np.pi / 2),
    }[side]
    return mesh.moved(origin, yaw)


def wall_length(room: RoomBox, side: str) -> float:
    """Metres from end to end."""
    return float((room[1] - room[0])[0 if side in "zZ" else 2])


def build_wall(
    wall: Mesh, length: float, height: float, openings: list[Opening], materials: Materials, texture: int
) -> None:
    """The wall's quads around its holes, its trim, and what is in and on it."""
    trim = materials("white")
    board = materials.rng.uniform(0.07, 0.14)
    holes = sorted((o for o in openings if o.is_hole), key=lambda o: o.left)
    doors = [o for o in openings if o.kind in ("door", "doorway")]
    # with one hole from 1 m to 2 m in 4 m: edges 0 1 2 4, panels 0-1 and 2-4; then those above and below the hole
    edges = [0.0, *(x for o in holes for x in (o.left, o.right)), length]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        panel(wall, left, right, 0, height, texture)
    for hole in holes:
        panel(wall, hole.left, hole.right, hole.top, height, texture)
        if hole.bottom > 0:
            panel(wall, hole.left, hole.right, 0, hole.bottom, texture)
    cuts = [0.0, *(x for o in sorted(doors, key=lambda o: o.left) for x in (o.left, o.right)), length]
    for left, right in zip(cuts[::2], cuts[1::2], strict=True):
        wall.box((left, 0, 0), (right, board, 0.015), trim, "ZY", solid=False)
    for opening in openings:
        FITTINGS[opening.kind](wall, opening, materials, trim)


def panel(wall: Mesh, left: float, right: float, bottom: float, top: float, texture: int) -> None:
    """A plain part of the wall."""
    wall.quad((left, top, 0), (right - left, 0, 0), (0, bottom - top, 0), texture, (left, -top))


def casing(wall: Mesh, o: Opening, trim: int, width: float = 0.07) -> None:
    """Boards around an opening."""
    wall.box((o.left - width, o.bottom, 0), (o.left, o.top + width, 0.025), trim, "xXZY", solid=False)
    wall.box((o.right, o.bottom, 0), (o.right + width, o.top + width, 0.025), trim, "xXZY", solid=False)
    wall.box((o.left, o.top, 0), (o.right, o.top + width, 0.025), trim, "yZY", solid=False)


def reveal(wall: Mesh, o: Opening, trim: int) -> None:
    """The inner sides of a hole."""
    wall.box((o.left - 0.01, o.bottom, -WALL_THICKNESS), (o.left, o.top, 0), trim, "X", solid=False)
    wall.box((o.right, o.bottom, -WALL_THICKNESS), (o.right + 0.01, o.top, 0), trim, "x", solid=False)
    wall.box((o.left, o.top, -WALL_THICKNESS), (o.right, o.top + 0.01, 0), trim, "y", solid=False)
    if o.bottom > 0:
        wall.box((o.left, o.bottom - 0.01, -WALL_THICKNESS), (o.right, o.bottom, 0), trim, "Y", solid=False)


def fit_window(wall: Mesh, o: Opening, materials: Materials, trim: int) -> None:
    """Frame, bars, sill, the bright view outside, and curtains or blinds."""
    rng = materials.rng
    reveal(wall, o, trim)
    casing(wall, o, trim)
    wall.box((o.left - 0.1, o.bottom - 0.03, 0), (o.right + 0.1, o.bottom, 0.09), trim, "xXyYZ", solid=False)
    wide, high = o.right - o.left, o.top - o.bottom
    for x in np.linspace(o.left, o.right, int(rng.integers(2, 4)) + (wide > 1.6)):
        wall.box((x - 0.025, o.bottom, -0.08), (x + 0.025, o.top, -0.04), trim, "xXZ", solid=False)
    for y in np.linspace(o.bottom, o.top, int(rng.integers(2, 4))):
        wall.box((o.left, y - 0.025, -0.075), (o.right, y + 0.025, -0.045), trim, "yYZ", solid=False)
    far = 1.5
    scenery, glow = materials("outside"), rng.uniform(0.9, 3.5)
    wall.quad((o.left - 3, o.top + 1.0, -far), (wide + 6, 0, 0), (0, -high - 2.2, 0), scenery, glow=glow)
    style = rng.random()
    if style < 0.4:
        cloth = materials("curtain")
        reach = rng.uniform(0.15, 0.35)
        for left, right in ((o.left - reach, o.left + 0.1), (o.right - 0.1, o.right + reach)):
            bottom = 0.05 if rng.random() < 0.6 else o.bottom - 0.2
            wall.box((left, bottom, 0.05), (right, o.top + 0.15, 0.12), cloth, "xXZ", solid=False)
    elif style < 0.55:
        down = o.top - rng.uniform(0.2, 0.9) * high
        wall.quad((o.left, o.top, -0.02), (wide, 0, 0), (0, down - o.top, 0), materials("blinds"))


def fit_doorway(wall: Mesh, o: Opening, materials: Materials, trim: int) -> None:
    """Reveal and casing."""
    reveal(wall, o, trim)
    casing(wall, o, trim)


def fit_door(wall: Mesh, o: Opening, materials: Materials, trim: int) -> None:
    """A closed door."""
    casing(wall, o, trim)
    wall.quad((o.left, o.top, 0.01), (o.right - o.left, 0, 0), (0, o.bottom - o.top, 0), materials("door"))


def fit_painting(wall: Mesh, o: Opening, materials: Materials, trim: int) -> None:
    """A framed picture."""
    wall.box((o.left, o.bottom, 0), (o.right, o.top, 0.03), materials("dark"), "xXyY", solid=False)
    right, down = (o.right - o.left, 0, 0), (0, o.bottom - o.top, 0)
    wall.quad((o.left, o.top, 0.03), right, down, materials("painting", fresh=True))


FITTINGS = {"window": fit_window, "doorway": fit_doorway, "door": fit_door, "painting": fit_painting}


def furnish(
    mesh: Mesh,
    room: RoomBox,
    name: str,
    plan: dict[str, list[Opening]],
    materials: Materials,
    lamps: list[Lamp],
) -> None:
    """Put the pieces of the room's program where they fit, then pictures on the walls that are left."""
    rng = materials.rng
    along, middle = PROGRAMS[name]
    taken = [door_space(room, side, o) for side in SIDES for o in plan[side] if o.kind != "window"]
    for piece in along:
        if rng.random() < 0.85:
            place_along(mesh, room, piece, plan, materials, taken, lamps)
    for piece in rng.choice(EXTRAS, int(rng.integers(2, 6)) if name != "corridor" else 0):
        place_along(mesh, room, str(piece), plan, materials, taken, lamps)
    for piece in middle:
        place_middle(mesh, room, piece, materials, taken)
    for side in SIDES:
        hang_paintings(room, side, plan, mesh, rng)


def door_space(room: RoomBox, side: str, opening: Opening) -> np.ndarray:
    """The box of floor that must stay free in front of a door."""
    wall = wall_mesh(Mesh(), room, side)
    wall.solid((opening.left - 0.1, 0, 0), (opening.right + 0.1, 2.0, 0.85))
    return np.array(wall.solids[0])


def overlaps(box: np.ndarray, others: list[np.ndarray], gap: float = 0.06) -> bool:
    """Whether a box comes closer to another one than ``gap`` metres on the floor."""
    return any(
        (box[0, [0, 2]] < o[1, [0, 2]] + gap).all() and (box[1, [0, 2]] > o[0, [0, 2]] - gap).all()
        for o in others
    )


def place_along(
    mesh: Mesh,
    room: RoomBox,
    piece: str,
    plan: dict[str, list[Opening]],
    materials: Materials,
    taken: list,
    lamps: list[Lamp],
) -> None:
    """A piece with its back to some wall, if one of 14 tries fits: no door, window or other piece is in its way."""
    rng = materials.rng
    part = PIECES[piece](materials, rng)
    extent = footprint(part)
    for _ in range(14):
        side = str(rng.choice(list(SIDES)))
        half = max(-extent[0, 0], extent[1, 0])
        length = wall_length(room, side)
        if length < 2 * half + 0.1:
            continue
        x = rng.uniform(half + 0.04, length - half - 0.04)
        off = 0.02 - min(extent[0, 2], 0.0)
        # an empty mesh in the same place only tells which box of floor the piece would take
        probe = wall_mesh(Mesh(), room, side).moved((x, 0, off))
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
        spot = wall_mesh(mesh, room, side).moved((x, 0, off))
        spot.include(part)
        if piece == "lamp":
            power = rng.uniform(0.2, 0.9) * np.array([1.0, 0.75, 0.5])
            lamps.append(Lamp(spot.origin + (extent[1, 1] - 0.1) * UP, power, zone=room))
        return


def footprint(part: Mesh) -> np.ndarray:
    """The box around a piece."""
    corners = np.array([[c, c + r, c + d, c + r + d] for c, r, d, *_ in part.quads]).reshape(-1, 3)
    return np.array([corners.min(0), corners.max(0)])


def place_middle(mesh: Mesh, room: RoomBox, piece: str, materials: Materials, taken: list) -> None:
    """A piece somewhere in the middle, often on a rug."""
    rng = materials.rng
    part = PIECES[piece](materials, rng)
    extent = footprint(part)
    centre = extent.mean(0) * [1, 0, 1]
    for _ in range(10):
        yaw = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.04)
        place = room.mean(0) * [1, 0, 1] + rng.normal(0, 0.35, 3) * [1, 0, 1]
        spot = mesh.moved(place, yaw).moved(-centre)
        probe = Mesh(turn=spot.turn, origin=spot.origin)
        probe.solid(*extent)
        box = np.array(probe.solids[0])
        if overlaps(box, taken, 0.15) or (box[0] < room[0] - 1e-6).any() or (box[1] > room[1]).any():
            continue
        taken.append(box)
        spot.include(part)
        if rng.random() < 0.7:
            size = (extent[1] - extent[0]) * 0.5 + rng.uniform(0.1, 0.5)
            rug = mesh.moved(place, yaw)
            rug.quad((-size[0], 0.008, -size[2]), (2 * size[0], 0, 0), (0, 0, 2 * size[2]), materials("rug"))
        return


def hang_paintings(room: RoomBox, side: str, plan: dict[str, list[Opening]], mesh: Mesh, rng: Rng) -> None:
    """Up to three pictures where a wall is free."""
    length = wall_length(room, side)
    wall = wall_mesh(Mesh(), room, side)
    for _ in range(int(rng.integers(0, 4))):
        wide, high = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.8)
        left, bottom = rng.uniform(0.1, max(0.11, length - wide - 0.1)), rng.uniform(1.15, 1.45)
        clear = all(left > o.right + 0.15 or left + wide < o.left - 0.15 for o in plan[side])
        box = Mesh(turn=wall.turn, origin=wall.origin)
        box.solid((left, bottom, 0), (left + wide, bottom + high, 0.1))
        low, top = box.solids[0]
        hidden = any(
            (low < top_corner).all() and (top > bottom_corner).all()
            for bottom_corner, top_corner in mesh.solids
        )
        if clear and not hidden and left + wide < length:
            plan[side].append(Opening("painting", left, left + wide, bottom, bottom + high))
