"""What is labelled lossy is shown to be, and what says it is lossless but is not does not get through."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from sample_checks import Setting, p_value, seed_of

from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.recipe import Strategies
from vidjacobi.decoding.strategies.couplings import Gumbel, Independent, Maximal, Reuse
from vidjacobi.decoding.strategies.drafts import PreviousFrameProbs, Uniform
from vidjacobi.decoding.strategies.parallel_lanes import RowLanes
from vidjacobi.decoding.strategies.verifiers import Grouped, Pathwise, RejectionSampler
from vidjacobi.kinds import Grid

pytestmark = pytest.mark.unchecked

# RowLanes of 12, eight tokens given: lanes that wait for up to eight tokens of the row above open at once.
WIDE = Setting(window=12, context=(0, 1, 2, 0, 2, 1, 1, 0), new_tokens=8, grid=Grid(2, 2, 12), surprise=1.0)
# Small frames, so that lanes of the next frame open early too; its first row is given.
SMALL = Setting(window=12, context=(0, 1), new_tokens=8, grid=Grid(3, 3, 2), surprise=1.0)
SAMPLES = 30_000
LOSSY = [name for name in config_names("decoder") if load_decoder(name).guarantee == "lossy"]


@pytest.mark.unchecked
@pytest.mark.parametrize(
    "name", [LOSSY[0], *(pytest.param(name, marks=pytest.mark.slow) for name in LOSSY[1:])]
)
def test_a_shipped_decoder_labelled_lossy_is(name: str) -> None:
    strategies = strategies_of(load_decoder(name))
    found = [p_value(setting, strategies, seed_of(name), SAMPLES) for setting in (WIDE, SMALL)]
    assert min(found) < 1e-9, (
        f"{name} is labelled lossy, but follows the probs of AR in every setting of this test ({found}): relabel it, "
        "or add a setting in which it differs"
    )


class Promises:
    """A label that is not true."""

    guarantee: ClassVar[str] = "lossless"


class PromisingReuse(Promises, Reuse):
    """SJD++ as lossless."""


class PromisingGroups(Promises, Grouped):
    """GSD as lossless."""


class PromisingRows(Promises, RowLanes):
    """Lanes that open early as lossless."""


RIGHT = Strategies(Uniform(), Maximal(), RejectionSampler())
WRONG: dict[str, tuple[Setting, dict[str, Any]]] = {
    "reuse": (WIDE, {"coupling": PromisingReuse(0.5)}),
    "grouped": (WIDE, {"coupling": Independent(), "verifier": PromisingGroups()}),
    "rows opened by one token": (WIDE, {"lanes": PromisingRows(context=1, width=2)}),
    "rows opened by one token, pathwise": (
        WIDE,
        {"lanes": PromisingRows(context=1, width=2), "coupling": Gumbel(), "verifier": Pathwise()},
    ),
    "rows opened by eight tokens": (WIDE, {"lanes": PromisingRows(context=8, width=4)}),
    "frames opened by a row": (
        SMALL,
        {"lanes": PromisingRows(frames=0, width=2), "draft": PreviousFrameProbs()},
    ),
    "only the top row corrects": (WIDE, {"lanes": PromisingRows(context=1, width=2, correct="top")}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_part_that_promises_too_much_is_caught(name: str) -> None:
    setting, changed = WRONG[name]
    strategies = replace(RIGHT, **changed)
    assert strategies.guarantee in ("lossless", "identical")
    assert p_value(setting, strategies, seed_of(name), SAMPLES) < 1e-9


@pytest.mark.parametrize("setting", [WIDE, SMALL], ids=["wide", "small"])
@pytest.mark.slow
def test_what_waits_is_right_in_the_same_settings(setting: Setting) -> None:
    """Otherwise they would show nothing."""
    waiting = replace(RIGHT, lanes=RowLanes(width=4), draft=PreviousFrameProbs())
    for strategies in (RIGHT, waiting, replace(waiting, coupling=Gumbel(), verifier=Pathwise())):
        assert p_value(setting, strategies, seed_of(setting), SAMPLES) > 1e-4
