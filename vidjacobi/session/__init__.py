"""A world model that is acted in: step by step, with forks, snapshots and rewinding."""

from vidjacobi.session.planning import Choice as Choice
from vidjacobi.session.planning import best_of as best_of
from vidjacobi.session.record import Snapshot as Snapshot
from vidjacobi.session.record import Step as Step
from vidjacobi.session.session import Session as Session
