"""Every lossless decoder against the exact joint law of the tiny model, 200,000 samples a test."""

from dataclasses import dataclass
from typing import Any

import pytest
from law_checks import Setting, p_value, seed_of

from vidjacobi.config import config_names, load_decoder
from vidjacobi.couplings import COUPLINGS
from vidjacobi.drafts import DRAFTS
from vidjacobi.state import Parts
from vidjacobi.verify import VERIFIERS

SETTINGS = {
    1: Setting(window=1, context=(1, 2), new_tokens=4),
    2: Setting(window=2, context=(1,), new_tokens=5),  # one frame, and more context positions than tokens
    3: Setting(window=3, context=(3, 0), new_tokens=4, vocab_size=4),  # as long as what the prefill leaves
    5: Setting(window=5, context=(1,), new_tokens=5),  # longer than the rest, more than two frames
}
OPTIONS: dict[str, list[dict[str, Any]]] = {  # of registry entries that cannot be made, or tested, without
    "mixture": [{"alpha": 0.5, "of": "maximal"}, {"alpha": 0.5, "of": "gumbel"}],
    "previous_law": [{}, {"keep": 2}],
}
SHIPPED = [name for name in config_names("decoder") if load_decoder(name).law != "lossy"]
CHANCE = 1e-3  # of one false alarm in this file


@dataclass(frozen=True)
class Case:
    """One point of the product."""

    draft: dict[str, Any]
    coupling: dict[str, Any]
    verifier: dict[str, Any]
    window: int

    def __str__(self) -> str:
        parts = (self.draft, self.coupling, self.verifier)
        return "-".join(" ".join(map(str, part.values())) for part in parts) + f"-{self.window}"


def entries(table: dict[str, type]) -> list[dict[str, Any]]:
    return [{"name": name, **options} for name in table for options in OPTIONS.get(name, [{}])]


def every_case() -> list[Case]:
    """The shipped pairs of coupling and verifier at every window, the other lossless ones at one."""
    configs = [load_decoder(name) for name in SHIPPED]
    shipped = [(c.coupling, c.verifier) for c in configs]
    return [
        Case(draft, coupling, verifier, window)
        for verifier in entries(VERIFIERS)
        if VERIFIERS[verifier["name"]]().law != "lossy"
        for coupling in entries(COUPLINGS)
        for draft in entries(DRAFTS)
        for window in (
            (1, 2, 3, 5) if (coupling, verifier) in shipped and draft.get("keep") is None else (3,)
        )
    ]


CASES = every_case()
THRESHOLD = CHANCE / (len(CASES) + len(SHIPPED))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_decoder_has_the_joint_law(name: str) -> None:
    config = load_decoder(name)
    parts = None
    if config.draft and config.coupling and config.verifier:
        parts = Parts.named(config.draft, config.coupling, config.verifier)
    assert p_value(SETTINGS[2], parts, seed_of(name)) > THRESHOLD


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_lossless_combination_has_the_joint_law(case: Case) -> None:
    parts = Parts.named(case.draft, case.coupling, case.verifier)
    assert p_value(SETTINGS[case.window], parts, seed_of(case)) > THRESHOLD


def test_the_product_is_complete() -> None:
    """Every entry of the registries is in a case."""
    assert {case.draft["name"] for case in CASES} == set(DRAFTS)
    assert {case.coupling["name"] for case in CASES} == set(COUPLINGS)
    assert {case.verifier["name"] for case in CASES} <= set(VERIFIERS)
    assert {case.window for case in CASES} == set(SETTINGS)
