"""Every shipped decoder decides the recorded tokens in the recorded passes: see ``token_hash_cases.py``."""

from functools import cache

import pytest
import torch
from token_hash_cases import BUNDLED, Case, arithmetic_hash, cases, logits_hash, stored

pytestmark = pytest.mark.unchecked

CASES = list(cases())
ADVICE = (
    "If tokens or passes were meant to change, record them anew: "
    "python tests/decoding/token_hash_cases.py --write. If nothing of this project changed, it is the machine: "
    "the hashes are those of one family of processors and one version of torch."
)


@cache
def unlike(model: str) -> str:
    """How this machine's arithmetic differs from the recorded one's, or nothing.

    Logits that differ on a machine that calculates as the recorded one did are this project's doing: that fails.
    """
    machine = stored()["machine"]
    if model not in BUNDLED or logits_hash(model) == machine[model]:
        return ""
    here = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    recorded = f"torch {machine['torch']}, {machine['instructions']}"
    assert arithmetic_hash() != machine["arithmetic"], f"the logits of {model} have changed. {ADVICE}"
    return f"recorded with another float32 arithmetic: {recorded}, not {here}"


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.id, marks=[pytest.mark.slow] if case.slow else []) for case in CASES],
)
def test_tokens_and_passes_are_the_recorded_ones(case: Case) -> None:
    if reason := unlike(case.model):
        pytest.skip(reason)
    expected = stored()["cases"].get(case.id)
    assert expected, f"{case.id} is not recorded. {ADVICE}"
    assert case.run() == expected, ADVICE


def test_the_file_holds_the_cases_and_no_others() -> None:
    assert stored()["cases"].keys() == {case.id for case in CASES}, ADVICE
    assert len(CASES) == len({case.id for case in CASES})
