"""Which positions a pass evaluates. A lane is a run of neighbouring positions with a frontier of its own.

A rule sees only which positions are decided, never a token, so a lossless decoder stays lossless under any of
them as long as a lane waits for everything to its left. The contract is in raster.py.
"""

from vidjacobi.decoding.strategies.lanes.adaptive import AdaptiveLane
from vidjacobi.decoding.strategies.lanes.by_frame import FrameLanes
from vidjacobi.decoding.strategies.lanes.by_row import RowLanes
from vidjacobi.decoding.strategies.lanes.raster import LanePlan, Lanes, LaneView, RasterLane, StatefulLanes

__all__ = [
    "LANES",
    "AdaptiveLane",
    "FrameLanes",
    "LanePlan",
    "LaneView",
    "Lanes",
    "RasterLane",
    "RowLanes",
    "StatefulLanes",
]

LANES: dict[str, type] = {
    "raster": RasterLane,
    "adaptive": AdaptiveLane,
    "rows": RowLanes,
    "frames": FrameLanes,
}
