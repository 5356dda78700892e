"""Walls with openings: windows with frames and a view, doors, doorways, skirting boards, pictures.

A wall's own coordinates: x along it from its left end as seen from the room, y up, z into the room.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh

THICK = 0.12
Room = Float[np.ndarray, "2 3"]
SIDES = "xXzZ"  # the walls at the low x, high x, low z, high z end


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


def wall_view(mesh: Mesh, room: Room, side: str) -> Mesh:
    """The mesh in the coordinates of one wall."""
    low, high = room
    origin, yaw = {
        "z": ((low[0], 0, low[2]), 0.0),
        "Z": ((high[0], 0, high[2]), np.pi),
        "x": ((low[0], 0, high[2]), np.pi / 2),
        "X": ((high[0], 0, low[2]), -np.pi / 2),
    }[side]
    return mesh.moved(origin, yaw)


def wall_length(room: Room, side: str) -> float:
    """Metres from end to end."""
    return float((room[1] - room[0])[0 if side in "zZ" else 2])


def build_wall(
    view: Mesh, length: float, height: float, openings: list[Opening], looks: Looks, skin: int
) -> None:
    """The wall's quads around its holes, its trim, and what is in and on it."""
    trim = looks("white")
    board = looks.rng.uniform(0.07, 0.14)
    holes = sorted((o for o in openings if o.is_hole), key=lambda o: o.left)
    doors = [o for o in openings if o.kind in ("door", "doorway")]
    edges = [0.0, *(x for o in holes for x in (o.left, o.right)), length]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        panel(view, left, right, 0, height, skin)
    for hole in holes:
        panel(view, hole.left, hole.right, hole.top, height, skin)
        if hole.bottom > 0:
            panel(view, hole.left, hole.right, 0, hole.bottom, skin)
    cuts = [0.0, *(x for o in sorted(doors, key=lambda o: o.left) for x in (o.left, o.right)), length]
    for left, right in zip(cuts[::2], cuts[1::2], strict=True):
        view.box((left, 0, 0), (right, board, 0.015), trim, "ZY", solid=False)
    for opening in openings:
        FITTINGS[opening.kind](view, opening, looks, trim)


def panel(view: Mesh, left: float, right: float, bottom: float, top: float, skin: int) -> None:
    """A plain part of the wall."""
    view.quad((left, top, 0), (right - left, 0, 0), (0, bottom - top, 0), skin, (left, -top))


def casing(view: Mesh, o: Opening, trim: int, width: float = 0.07) -> None:
    """Boards around an opening."""
    view.box((o.left - width, o.bottom, 0), (o.left, o.top + width, 0.025), trim, "xXZY", solid=False)
    view.box((o.right, o.bottom, 0), (o.right + width, o.top + width, 0.025), trim, "xXZY", solid=False)
    view.box((o.left, o.top, 0), (o.right, o.top + width, 0.025), trim, "yZY", solid=False)


def reveal(view: Mesh, o: Opening, trim: int) -> None:
    """The inner sides of a hole."""
    view.box((o.left - 0.01, o.bottom, -THICK), (o.left, o.top, 0), trim, "X", solid=False)
    view.box((o.right, o.bottom, -THICK), (o.right + 0.01, o.top, 0), trim, "x", solid=False)
    view.box((o.left, o.top, -THICK), (o.right, o.top + 0.01, 0), trim, "y", solid=False)
    if o.bottom > 0:
        view.box((o.left, o.bottom - 0.01, -THICK), (o.right, o.bottom, 0), trim, "Y", solid=False)


def fit_window(view: Mesh, o: Opening, looks: Looks, trim: int) -> None:
    """Frame, bars, sill, the bright view outside, and curtains or blinds."""
    rng = looks.rng
    reveal(view, o, trim)
    casing(view, o, trim)
    view.box((o.left - 0.1, o.bottom - 0.03, 0), (o.right + 0.1, o.bottom, 0.09), trim, "xXyYZ", solid=False)
    wide, high = o.right - o.left, o.top - o.bottom
    for x in np.linspace(o.left, o.right, int(rng.integers(2, 4)) + (wide > 1.6)):
        view.box((x - 0.025, o.bottom, -0.08), (x + 0.025, o.top, -0.04), trim, "xXZ", solid=False)
    for y in np.linspace(o.bottom, o.top, int(rng.integers(2, 4))):
        view.box((o.left, y - 0.025, -0.075), (o.right, y + 0.025, -0.045), trim, "yYZ", solid=False)
    far = 1.5
    scenery, glow = looks("outside"), rng.uniform(0.9, 3.5)
    view.quad((o.left - 3, o.top + 1.0, -far), (wide + 6, 0, 0), (0, -high - 2.2, 0), scenery, glow=glow)
    style = rng.random()
    if style < 0.4:
        cloth = looks("curtain")
        reach = rng.uniform(0.15, 0.35)
        for left, right in ((o.left - reach, o.left + 0.1), (o.right - 0.1, o.right + reach)):
            bottom = 0.05 if rng.random() < 0.6 else o.bottom - 0.2
            view.box((left, bottom, 0.05), (right, o.top + 0.15, 0.12), cloth, "xXZ", solid=False)
    elif style < 0.55:
        down = o.top - rng.uniform(0.2, 0.9) * high
        view.quad((o.left, o.top, -0.02), (wide, 0, 0), (0, down - o.top, 0), looks("blinds"))


def fit_doorway(view: Mesh, o: Opening, looks: Looks, trim: int) -> None:
    """Reveal and casing, and sometimes the open door's leaf."""
    reveal(view, o, trim)
    casing(view, o, trim)


def fit_door(view: Mesh, o: Opening, looks: Looks, trim: int) -> None:
    """A closed door."""
    casing(view, o, trim)
    view.quad((o.left, o.top, 0.01), (o.right - o.left, 0, 0), (0, o.bottom - o.top, 0), looks("door"))


def fit_painting(view: Mesh, o: Opening, looks: Looks, trim: int) -> None:
    """A framed picture."""
    view.box((o.left, o.bottom, 0), (o.right, o.top, 0.03), looks("dark"), "xXyY", solid=False)
    right, down = (o.right - o.left, 0, 0), (0, o.bottom - o.top, 0)
    view.quad((o.left, o.top, 0.03), right, down, looks("painting", fresh=True))


FITTINGS = {"window": fit_window, "doorway": fit_doorway, "door": fit_door, "painting": fit_painting}
