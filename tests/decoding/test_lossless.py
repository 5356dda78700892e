"""Every lossless decoder against the exact joint probs of the tiny model, 100,000 samples a test."""

from dataclasses import dataclass
from typing import Any

import pytest
from sample_checks import Setting, p_value, seed_of

from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.recipe import Strategies
from vidjacobi.decoding.strategies.couplings import COUPLINGS
from vidjacobi.decoding.strategies.drafts import DRAFTS
from vidjacobi.decoding.strategies.parallel_lanes import LANES
from vidjacobi.decoding.strategies.verifiers import VERIFIERS, TreeVerifier
from vidjacobi.kinds import Grid
from vidjacobi.registry import build

pytestmark = pytest.mark.unchecked

Entry = dict[str, Any]
SETTINGS = {
    1: Setting(window=1, context=(1, 2), new_tokens=4),
    2: Setting(window=2, context=(1,), new_tokens=5),  # one frame, and more context positions than tokens
    3: Setting(window=3, context=(3, 0), new_tokens=4, vocab_size=4),  # as long as what the prefill leaves
    4: Setting(window=4, context=(2, 0, 1), new_tokens=5, grid=Grid(2, 2, 2)),  # begins and ends mid-row
    5: Setting(window=5, context=(1,), new_tokens=5),  # longer than the rest, more than two frames
    10: Setting(window=10, context=(1,), new_tokens=5),  # room for three levels of three siblings
}
TIMES = {"curve": "made up", "seconds": [1.0, 1.5], "tokens": [1.0, 1.6], "block": 1, "trust": 1.0}
OPTIONS: dict[str, list[Entry]] = {  # of registry entries that cannot be made, or tested, without
    "mixture": [{"alpha": 0.5, "of": "maximal"}, {"alpha": 0.5, "of": "gumbel"}],
    "previous_frame_probs": [{}, {"keep": 2}],
    "rows": [{"width": 1}, {"width": 2}],
    "frames": [{"reach": None}],
    "adaptive": [{"sizes": [1, 3], **TIMES}],
}
TREES = (  # and windows that have room for them beside one or more drafts
    ({"depth": 1, "width": 2}, (2, 5)),
    ({"depth": 1, "width": 3}, (4,)),
    ({"depth": 2, "width": 2}, (4, 5)),
    ({"depth": 3, "width": 4}, (10,)),  # wider than the vocabulary: some do not exist
)
SHIPPED = [name for name in config_names("decoder") if load_decoder(name).guarantee != "lossy"]
CHANCE = 1e-3  # of one false alarm in this file


@dataclass(frozen=True)
class Case:
    """One point of the product."""

    draft: Entry
    coupling: Entry
    verifier: Entry
    window: int
    lanes: Entry | None = None
    draft_tree: Entry | None = None

    @property
    def strategies(self) -> Strategies:
        return Strategies.named(self.draft, self.coupling, self.verifier, self.lanes, self.draft_tree)

    def __str__(self) -> str:
        parts = [self.draft, self.coupling, self.verifier]
        parts += [part for part in (self.lanes, self.draft_tree) if part]
        names = [
            " ".join(str(value) for value in part.values() if value not in TIMES.values()) for part in parts
        ]
        return "-".join(names) + f"-{self.window}"


def entries(kind: str, table: dict[str, type]) -> list[Entry]:
    """Every entry that promises the probs of AR."""
    every = [{"name": name, **options} for name in table for options in OPTIONS.get(name, [{}])]
    return [
        entry for entry in every if getattr(build(kind, entry, table), "guarantee", "lossless") != "lossy"
    ]


RULES, COUPLED = entries("draft rule", DRAFTS), entries("coupling", COUPLINGS)
JUDGES = entries("verifier", VERIFIERS)
BRANCHING = [judge for judge in JUDGES if isinstance(build("verifier", judge, VERIFIERS), TreeVerifier)]
MORE_LANES = [lanes for lanes in entries("lanes", LANES) if lanes["name"] != "raster"]
BOTH = [
    {"name": "uniform"},
    {"name": "previous_frame_probs"},
]  # draft probs that say nothing, and some that say much


def pairs() -> list[tuple[Entry, Entry]]:
    """Couplings with verifiers, where the coupling matters: the pathwise verifier looks at no draft probs."""
    matters = [judge for judge in JUDGES if build("verifier", judge, VERIFIERS).reads_draft_probs]
    rest = [judge for judge in JUDGES if judge not in matters]
    return [(c, j) for j in matters for c in COUPLED] + [({"name": "gumbel"}, j) for j in rest]


def every_case() -> list[Case]:
    """All drafts, couplings and verifiers at one window, some at others; lanes and draft trees with each of them."""
    mixed = [case for case in pairs() if case[0]["name"] != "mixture"]
    plain = [Case(rule, c, j, 3) for c, j in pairs() for rule in RULES]
    free = [Case(BOTH[1], c, j, 3) for j in JUDGES for c in COUPLED if (c, j) not in pairs()]
    windows = [Case(rule, c, j, w) for c, j in mixed for rule in BOTH for w in (1, 2, 5)]
    lanes = [Case(rule, c, j, 4, lane) for lane in MORE_LANES for c, j in mixed for rule in BOTH]
    trees = [
        Case(rule, {"name": "maximal"}, {"name": "rejection_sampling"}, w, None, tree)
        for tree, sizes in TREES
        for w in sizes
        for rule in RULES
    ]
    others = [
        Case(BOTH[1], c, j, 10 if tree["depth"] == 3 else 4, None, tree)
        for c, j in pairs()
        if j in BRANCHING and c["name"] != "maximal"
        for tree, _ in TREES
    ]
    adaptive = [
        Case(BOTH[1], {"name": "maximal"}, {"name": "rejection_sampling"}, 5, lane, TREES[0][0])
        for lane in MORE_LANES
        if lane["name"] == "adaptive"
    ]
    return plain + free + windows + lanes + trees + others + adaptive


CASES = every_case()
THRESHOLD = CHANCE / (len(CASES) + len(SHIPPED))


@pytest.mark.parametrize(
    "name",
    [name if name in ("pathwise", "sjd") else pytest.param(name, marks=pytest.mark.slow) for name in SHIPPED],
)
def test_a_shipped_decoder_has_the_joint_probs(name: str) -> None:
    """With its own lanes and draft tree."""
    config = load_decoder(name)
    assert p_value(SETTINGS[10 if config.draft_tree else 2], strategies_of(config), seed_of(name)) > THRESHOLD


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_lossless_combination_has_the_joint_probs(case: Case) -> None:
    assert case.strategies.guarantee in ("lossless", "identical")
    assert p_value(SETTINGS[case.window], case.strategies, seed_of(case)) > THRESHOLD


def test_the_product_is_complete() -> None:
    """Every entry that promises the probs of AR is in a case, lanes and draft trees with every pair."""
    assert {case.draft["name"] for case in CASES} == set(DRAFTS)
    lossless = {"coupling": COUPLINGS, "verifier": VERIFIERS, "lanes": LANES}
    for kind, table in lossless.items():
        found = [part["name"] for case in CASES if (part := getattr(case, kind))]
        promised = {entry["name"] for entry in entries(kind, table)}
        assert set(found) | ({"raster"} if kind == "lanes" else set()) == promised
    assert {case.window for case in CASES} == set(SETTINGS)
    assert {case.verifier["name"] for case in CASES if case.draft_tree} == {
        judge["name"] for judge in BRANCHING
    }
    assert len({str(case) for case in CASES}) == len(CASES)
