"""What is counted as fused, and the table of overheads."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vidjacobi.cli import bench_overhead
from vidjacobi.cli.main import main
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.counting import FusedWorkCounter, WorkCounter
from vidjacobi.estimate.overhead import measure_overhead, outside_work, predict_overhead
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.kinds import Grid
from vidjacobi.loading import outline
from vidjacobi.testing import TinyVideoModel

SIZE = 4096 * 4


def moved(counter: WorkCounter, work: Callable[[], Any]) -> int:
    with torch.no_grad(), counter:
        return counter.of(work)[1].moved


def test_a_chain_is_read_where_it_ends() -> None:
    x, y = (torch.empty(4096, device="meta") for _ in range(2))
    assert moved(FusedWorkCounter(), lambda: [(x * 2 + y).exp()]) == 0
    assert moved(FusedWorkCounter(), lambda: (x * 2 + y).exp().sum()) == 2 * SIZE + 4
    assert moved(WorkCounter(), lambda: (x * 2 + y).exp().sum()) == (2 + 3 + 2 + 1) * SIZE + 4
    assert moved(FusedWorkCounter(), lambda: [(torch.arange(4096, device="meta") * 3).sum()]) == 8


def test_reductions_of_the_same_tensors_are_one_pass() -> None:
    x, y = (torch.empty(4096, device="meta") for _ in range(2))
    assert moved(FusedWorkCounter(), lambda: (x.exp().sum(), (x + 1).amax())) == SIZE + 8
    assert moved(FusedWorkCounter(), lambda: (x.sum(), y.sum(), x.amax())) == 3 * SIZE + 12
    # what the first one found is needed by the second
    assert moved(FusedWorkCounter(), lambda: (x - x.amax()).exp().sum()) == 2 * SIZE + 4 + 4 + 4


def test_what_is_picked_is_read_alone_and_what_is_scattered_is_written() -> None:
    table, rows = torch.empty(100, 4096, device="meta"), torch.empty(2, dtype=torch.long, device="meta")
    assert moved(FusedWorkCounter(), lambda: [table[rows].sum()]) == 2 * SIZE + 4
    x, at = torch.empty(4096, device="meta"), torch.empty(3, dtype=torch.long, device="meta")
    scattered = moved(
        FusedWorkCounter(), lambda: x.exp().scatter_add(0, at, torch.empty(3, device="meta")).sum()
    )
    assert scattered == (SIZE + 24 + 12 + SIZE) + (SIZE + 4)


def test_a_sort_takes_several_trips() -> None:
    x = torch.empty(4096, device="meta")
    assert moved(FusedWorkCounter(), lambda: x.exp().sort()) == moved(WorkCounter(), x.sort)


@pytest.mark.parametrize(
    ("decoder", "most"), [("pathwise", 250), ("fast", 350), ("mc_sjd", 150), ("gs_sjd", 150)]
)
def test_operations_of_a_4b_pass_stay_few(decoder: str, most: int) -> None:
    """Outside the forward call, on a device: each is a launch. Counted where no sibling is accepted."""
    shape = RolloutShape(with_window(load_decoder(decoder), 128))
    assert outside_work(outline("4B", torch.bfloat16), shape).each_pass.kernels <= most


# what the dispatcher sees of a tensor that becomes an array of numpy, or is made of one
SHARED = {"resolve_conj", "resolve_neg", "to", "detach", "lift_fresh"}


@pytest.mark.parametrize(
    ("decoder", "most"), [("pathwise", 120), ("fast", 190), ("mc_sjd", 90), ("gs_sjd", 120)]
)
def test_operations_of_a_pass_on_the_host_stay_few(decoder: str, most: int) -> None:
    """Small operations of torch cost more than what they do: the books of a pass are kept in numpy."""

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            counts[-1] += model.outside and func.overloadpacket.__name__ not in SHARED
            return func(*args, **(kwargs or {}))

    class Apart(TinyVideoModel):
        outside = True

        def forward(self, *inputs: Any) -> Any:
            self.outside = False
            logits = super().forward(*inputs)
            self.outside = True
            counts.append(0)
            return logits

    counts = [0]
    model = Apart(vocab_size=50, grid=Grid(6, 4, 5), surprise=0.3)
    context = torch.arange(20)[None]
    with Counter():
        decode(model, context, 90, decoder, 16)
    passes = counts[2:-1]  # without the prefill and the end
    assert len(passes) > 3
    assert sum(passes) / len(passes) <= most


@pytest.mark.slow
def test_a_compiled_pass_of_the_4b_is_its_forward() -> None:
    """The bar: less than 5 % of a pass at [1, 128, 64000] is moved outside of forward."""
    for share in predict_overhead("4b", "h100", bench_overhead.DECODERS, 128, compiled=True):
        assert 0.005 < share.share < 0.05
        assert share.share == pytest.approx(share.outside / (share.outside + share.forward), rel=0.1)


@pytest.mark.slow
def test_kernel_by_kernel_more_is_moved() -> None:
    (eager,), (compiled,) = (
        predict_overhead("4b", "h100", ["pathwise"], 32, compiled=how) for how in (False, True)
    )
    assert eager.outside > 5 * compiled.outside
    assert eager.forward == compiled.forward


def test_passes_are_measured() -> None:
    model = TinyVideoModel(vocab_size=5, grid=Grid(40, 2, 3))
    shares = measure_overhead(model, 12, 8)
    assert [(share.decoder, share.window) for share in shares] == [
        ("ar", 1),
        ("pathwise", 16),
        ("pathwise", 8),
    ]
    for share in shares:
        assert 0 < share.share < 1
        assert share.share == pytest.approx(share.outside / (share.outside + share.forward))


@pytest.mark.parametrize(
    "words", [["--window", "0"], ["--tokens", "3"], ["--gpu", "h1000"], ["--predict", "4c"]]
)
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgument):  # of the parser or of the command
        bench_overhead.run(bench_overhead.parser().parse_args([*words, "--models"]))


def test_the_command_prints_and_returns_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--predict", "nano", "--window", "16", "--decoders", "pathwise", "--models"]
    assert main(["bench", "overhead", *words]) == 0
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert "nano on h100, compiled" in printed
    (share,) = result["predicted"]["compiled"]
    assert f"{share['share']:.1%}" in printed
    assert result["measured"] == {}
