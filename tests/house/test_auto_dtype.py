"""What dtype ``auto`` means on a processor: bfloat16 where it is native and exact, and why."""

import pytest
import torch

from vidjacobi import runtime
from vidjacobi.invariance import PLAIN, USUAL
from vidjacobi.runtime import choose, multiplies_bfloat16

KNOWN = {"avx512_bf16": True}


@pytest.mark.parametrize(
    ("native", "invariant", "wanted", "why"),
    [
        (KNOWN, True, torch.bfloat16, "its passes are exact"),
        (KNOWN, False, torch.float32, "not width-invariant"),
        ({"avx2": True, "amx_bf16": False}, True, torch.float32, "slow or missing"),
    ],
)
def test_auto_on_a_processor(
    native: dict[str, bool], invariant: bool, wanted: torch.dtype, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: native, raising=False)
    shape = USUAL if invariant else PLAIN
    monkeypatch.setattr(runtime, "pass_shape", lambda *sizes: type(shape)(shape.rows, invariant=invariant))
    found = choose("cpu")
    assert found.dtype == wanted
    assert why in found.reason
    assert choose("cpu", "float32").dtype == torch.float32


def test_a_torch_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not multiplies_bfloat16()
