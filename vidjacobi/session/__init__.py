"""A world model that is acted in: step by step, with forks, snapshots and rewinding."""

from vidjacobi.session.record import Snapshot as Snapshot
from vidjacobi.session.session import Session as Session
from vidjacobi.session.session import Step as Step
