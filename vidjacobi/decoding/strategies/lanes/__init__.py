"""Which positions a pass evaluates. A lane is a run of neighbouring positions with a frontier of its own.

A rule sees only which positions are decided, never a token, so a lossless decoder stays lossless under any of
them as long as a lane waits for everything to its left. The contract is in contract.py.
"""

from vidjacobi.decoding.strategies.lanes.adaptive import Adaptive
from vidjacobi.decoding.strategies.lanes.by_frame import Frames
from vidjacobi.decoding.strategies.lanes.by_row import Rows
from vidjacobi.decoding.strategies.lanes.contract import LanePlan, Lanes, LaneView, StatefulLanes
from vidjacobi.decoding.strategies.lanes.raster import Raster

__all__ = ["LANES", "Adaptive", "Frames", "LanePlan", "LaneView", "Lanes", "Raster", "Rows", "StatefulLanes"]

LANES: dict[str, type] = {"raster": Raster, "adaptive": Adaptive, "rows": Rows, "frames": Frames}
