"""Which positions a pass evaluates. A lane is a run of neighbouring positions with a frontier of its own.

A rule sees only which positions are decided, never a token, so a lossless decoder stays lossless under any of
them as long as a lane waits for everything to its left. The contract is ``vidjacobi.lanes.contract.Lanes``.
"""

from vidjacobi.lanes.adaptive import Adaptive
from vidjacobi.lanes.contract import Active, Board, Lanes, Paced
from vidjacobi.lanes.frames import Frames
from vidjacobi.lanes.raster import Raster
from vidjacobi.lanes.rows import Rows

__all__ = ["LANES", "Active", "Adaptive", "Board", "Frames", "Lanes", "Paced", "Raster", "Rows"]

LANES: dict[str, type] = {"raster": Raster, "adaptive": Adaptive, "rows": Rows, "frames": Frames}
