"""Whole decodes with this project's decoders and with `generate` of transformers, in one run: passes and seconds.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python scripts/peers.py

nano and micro, 24 frames after 9, the same weights, contexts, dtype and sampling for all, one clip at a time, in
turn. `generate` keeps keys and values in transformers' own caches; a pass is a call of the network. Ratios are
medians, over clips and rounds, of a decoder's seconds divided by those of `generate` with its default, the dynamic
cache. Before that, what must decide AR's tokens is compared with it: `generate` and `ar` greedy, `pathwise` and `ar`
as they are measured. The bars: `ar` no slower than either `generate`, `pathwise` at least 5 times as fast as
`generate` on nano; the exit status is 1 where one is missed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from statistics import median

import torch
from torch import Tensor

from cosmos_adapter.transformer.hf import CosmosARForCausalLM
from cosmos_adapter.transformer.weights import load_network
from vidjacobi import SamplingParams, decode, load
from vidjacobi.bench.material import contexts_of
from vidjacobi.models.protocol import VideoModel, flatten
from vidjacobi.runtime import choose, describe_device, synchronize, versions

GENERATE = {"generate, dynamic cache": "dynamic", "generate, static cache": "static"}
DECODERS = ("ar", "pathwise", "fast")
SAMPLING = SamplingParams(1.0, 0.8)
AR_BAR, PATHWISE_BAR = 1.0, 5.0
Decoding = Callable[
    [Tensor, SamplingParams], tuple[Tensor, float]
]  # context [1 c] to tokens [1 n] and passes


@dataclass(frozen=True)
class Cost:
    """What one decode took, in passes, CPU seconds of this process and seconds."""

    passes: float
    cpu: float
    wall: float


class Peer:
    """A network as transformers decodes it."""

    def __init__(self, name: str, model: VideoModel, new: int) -> None:
        with resources.as_file(resources.files("vidjacobi") / "assets" / name / "transformer") as folder:
            network = load_network(folder)
        # weights of its own: what our decoders set in theirs must not change what `generate` runs
        self.model = CosmosARForCausalLM.from_network(network.to(model.device, model.dtype))
        self._new, self._passes = new, 0
        self.model.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self._passes += 1

    def generate(self, cache: str, context: Tensor, sampling: SamplingParams) -> tuple[Tensor, float]:
        """The new tokens ``[1 n]``, and passes."""
        self._passes = 0
        torch.manual_seed(sampling.seed)
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        how = {"do_sample": False} if sampling.greedy else drawn
        length = {"min_new_tokens": self._new, "max_new_tokens": self._new}
        made = self.model.generate(context, cache_implementation=cache, **how, **length)
        return made[:, context.shape[1] :], self._passes


def contestants(name: str, model: VideoModel, new: int) -> dict[str, Decoding]:
    """Everything that is compared."""
    peer = Peer(name, model, new)

    def peers(cache: str) -> Decoding:
        return lambda context, sampling: peer.generate(cache, context, sampling)

    def ours(decoder: str) -> Decoding:
        def run(context: Tensor, sampling: SamplingParams) -> tuple[Tensor, float]:
            decoded = decode(model, context, new, decoder, sampling=sampling)
            return decoded.tokens, decoded.stats.passes

        return run

    return {name: peers(cache) for name, cache in GENERATE.items()} | {one: ours(one) for one in DECODERS}


def timed(decoding: Decoding, context: Tensor, sampling: SamplingParams) -> Cost:
    """Decode one clip."""
    wall, cpu = time.perf_counter(), time.process_time()
    passes = decoding(context, sampling)[1]
    if context.is_cuda:
        synchronize(context.device)
    return Cost(passes, time.process_time() - cpu, time.perf_counter() - wall)


def same_tokens(contest: dict[str, Decoding], context: Tensor) -> dict[str, int]:
    """Tokens that differ from AR's, of one clip: `generate` and `ar` greedy, `pathwise` and `ar` drawn."""
    greedy = replace(SAMPLING, temperature=0.0)
    wanted = dict.fromkeys(GENERATE, greedy) | {"pathwise": SAMPLING}
    found = {}
    for name, sampling in wanted.items():
        tokens, oracle = (contest[one](context, sampling)[0].cpu() for one in (name, "ar"))
        found[name] = int((tokens != oracle).sum())
    return found


def table(costs: dict[str, list[Cost]]) -> tuple[list[str], dict[str, tuple[float, float]]]:
    """Lines of a table, and the ratios of CPU seconds and seconds to `generate`'s by name."""
    base = costs[next(iter(GENERATE))]
    lines = [
        "| | passes | CPU s | s | CPU, ratio | s, ratio |",
        "|---|---|---|---|---|---|",
    ]
    ratios = {}
    for name, runs in costs.items():
        pairs = list(zip(runs, base, strict=True))
        ratios[name] = (median(a.cpu / b.cpu for a, b in pairs), median(a.wall / b.wall for a, b in pairs))
        passes, cpu, wall = (median(getattr(run, unit) for run in runs) for unit in ("passes", "cpu", "wall"))
        cells = [f"{passes:.0f}", f"{cpu:.2f}", f"{wall:.2f}", *(f"{ratio:.2f}" for ratio in ratios[name])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines, ratios


def missed(model: str, costs: dict[str, list[Cost]], device: torch.device) -> list[str]:
    """The bars that are missed, in CPU seconds (seconds on a GPU), pair by pair."""
    clock = "wall" if device.type == "cuda" else "cpu"

    def ratio(name: str, other: str) -> float:
        pairs = zip(costs[name], costs[other], strict=True)
        return median(getattr(a, clock) / getattr(b, clock) for a, b in pairs)

    found = []
    for peer in GENERATE:
        if (slower := ratio("ar", peer)) > AR_BAR:
            found.append(f"{model}: ar takes {slower:.2f} of {peer}, the bar is {AR_BAR:g}")
        if model == "nano" and (faster := ratio(peer, "pathwise")) < PATHWISE_BAR:
            found.append(
                f"{model}: pathwise is {faster:.2f} times as fast as {peer}, the bar is {PATHWISE_BAR:g}"
            )
    return found


def measure(name: str, args: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """The record of one model, and the bars that it misses; prints its table."""
    pair = load(name, args.device, args.dtype)
    model, grids = pair[0], contexts_of(name, pair)[: args.clips]
    contexts, new = flatten(model, grids), args.latents * grids[0, 0].numel()
    contest = contestants(name, model, new)
    differ = same_tokens(contest, contexts[:1])
    costs: dict[str, list[Cost]] = {one: [] for one in contest}
    for number in range(args.rounds + 1):
        for context in contexts[:, None]:
            for one, decoding in contest.items():
                cost = timed(decoding, context, replace(SAMPLING, seed=number))
                if number:  # the first round warms up
                    costs[one].append(cost)
    dtype = str(model.dtype).removeprefix("torch.")
    print(f"\n{name}, {dtype}, {new} tokens after {contexts.shape[1]}, {describe_device(model.device)}\n")
    lines, ratios = table(costs)
    print("\n".join(lines))
    print(f"\ntokens of {new} that differ from ar's: {differ}", flush=True)
    runs = {one: [asdict(cost) for cost in found] for one, found in costs.items()}
    record = {"dtype": dtype, "new_tokens": new, "differ": differ, "ratios": ratios, "runs": runs}
    return record, missed(name, costs, model.device)


def main(words: Sequence[str] | None = None) -> int:
    """Print a table for each model, the bars that are missed, and last a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["nano", "micro"], choices=("nano", "micro"))
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="measured decodes of each clip")
    parser.add_argument("--latents", type=int, default=3, help="latent frames to decide, 8 frames each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args(words)
    records, failed = {}, []
    for name in args.models:
        records[name], bars = measure(name, args)
        failed += bars
    print("\n" + "\n".join(failed or ["no bar is missed"]))
    device = describe_device(choose(args.device).device)
    print(json.dumps({"device": device, "versions": versions(), "models": records, "missed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
