"""The stages of `gpu_check.py`, each in a process of its own, which writes a record to a file as soon as it has it.

    python scripts/gpu_stages.py passes --device cuda --records passes.jsonl --seconds 200

Everything is judged by equality of bits or tokens, or is a time; nothing here decides what is good enough.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cosmos_adapter.checkpoint import without_weights
from cosmos_adapter.pair import outline_of
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS, ModelSpec
from vidjacobi import SamplingParams, compiled, decode, load
from vidjacobi.bench.material import contexts_of
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import choose_decoder, decode_steps
from vidjacobi.decoding.recipe import Hooks
from vidjacobi.estimate.measuring import expected
from vidjacobi.estimate.pass_seconds import Machine, fit_published, load_gpu, total
from vidjacobi.estimate.predictions import DecoderCosts, PassPredictor
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.invariance import (
    PassShape,
    Sizes,
    attention_is_invariant,
    pass_shape,
    product_is_invariant,
)
from vidjacobi.models.protocol import flatten
from vidjacobi.processes import process_memory
from vidjacobi.runtime import attend, describe_device, synchronize, versions

MEMORY = 11.5e9  # bytes that tensors may take: with CUDA's context 12 GB
# how rows are made alike before a product: its own number of rows, or fixed tiles
TILES = {"as is": PassShape(1, 256), "64-row tiles": PassShape(64, 64), "128-row tiles": PassShape(128, 128)}
MODES = ("off", "default", "reduce-overhead")
COMPILING = 45.0  # seconds that must be left before a new shape is compiled
WARM, TIMED = 3, 9  # passes
SMALL = ModelSpec(
    dim=128,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    ffn_hidden_size=256,
    vocab_size=512,
    video_latent_shape=(5, 8, 12),
)
# names of GPUs, as their drivers say them, and of data sheets in configs/gpu
SHEETS = {"H100": "h100", "A100": "a100", "4090": "4090", "RTX 6000 Ada": "rtx6000ada"}
Record = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where a stage runs, how large, and until when (``time.monotonic``)."""

    device: torch.device
    small: bool
    until: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def settle(self) -> None:
        """Wait for what was launched."""
        if self.device.type == "cuda":
            synchronize(self.device)

    def peak(self) -> float:
        """The most bytes of tensors since the last question; on a CPU the most that the process ever had."""
        if self.device.type != "cuda":
            return process_memory()["VmHWM"]
        most = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return most


def attempt(case: Record, work: Callable[[], Record]) -> Record:
    """The record of a case; what it raises, such as a kernel that is missing or memory that is full, stands in it."""
    try:
        return case | work()
    except Exception as error:  # anything that a compiler or a driver raises: the next case may still work
        lines = str(error).strip().splitlines() or [""]
        return case | {"error": f"{type(error).__name__}: {lines[0][:200]}"}


def about(bench: Bench) -> Iterator[Record]:
    """What it is that is checked."""
    found: Record = {"device": describe_device(bench.device), "versions": versions(), "small": bench.small}
    if bench.device.type == "cuda":
        memory = torch.cuda.get_device_properties(bench.device).total_memory
        capability = torch.cuda.get_device_capability(bench.device)
        found |= {"memory": memory, "capability": list(capability), "cuda": torch.version.cuda}
    yield found


def probe(bench: Bench) -> Iterator[Record]:
    """Zero-sum probes of the 4B's products and attention in bfloat16: which ways of making rows alike hold."""
    spec, dtype = SMALL if bench.small else PRESETS["4B"].spec, torch.bfloat16
    heads = spec.n_heads * spec.head_size, spec.n_kv_heads * spec.head_size
    products = {
        "wq, wo": (spec.dim, heads[0]),
        "wk, wv": (spec.dim, heads[1]),
        "w1, w3": (spec.dim, spec.ffn_hidden_size),
        "w2": (spec.ffn_hidden_size, spec.dim),
        "head": (spec.dim, spec.vocab_size),
    }
    for (name, (inputs, outputs)), (how, shape) in product(products.items(), TILES.items()):
        case: Record = {"what": f"{name} {inputs} to {outputs}", "how": how}
        holds = partial(product_is_invariant, shape, inputs, outputs, dtype, bench.device)
        yield attempt(case, lambda holds=holds: {"holds": holds()})
    ordered = tuple(sorted(set(products.values()), key=math.prod))
    sizes = Sizes(ordered, spec.n_kv_heads, spec.query_group, spec.head_size)
    for how, shape in {
        "as is": PassShape(),
        "blocks of 512 slots": PassShape(positions=2, slots=512),
    }.items():
        case = {"what": f"attention, {spec.n_heads} heads of {spec.head_size}", "how": how}
        holds = partial(attention_is_invariant, shape, sizes, dtype, bench.device, attend)
        yield attempt(case, lambda holds=holds: {"holds": holds()})

    def chosen() -> Record:
        began = time.perf_counter()
        found = pass_shape(sizes, dtype, bench.device, torch.get_num_threads(), attend)
        return {"holds": found.invariant, "shape": str(found), "seconds": time.perf_counter() - began}

    yield attempt({"what": "all of a pass", "how": "padded as the probe chose"}, chosen)


def identical(bench: Bench) -> Iterator[Record]:
    """Does `pathwise` decide the tokens of eager `ar`? nano and micro, by dtype, window and way of passes."""
    names, latents = (("micro",), 1) if bench.small else (("nano", "micro"), 3)
    modes = MODES if bench.device.type == "cuda" else MODES[: 1 if bench.small else 2]
    oracles: dict[tuple[str, str], tuple[Any, torch.Tensor, torch.Tensor]] = {}
    for mode, name, dtype in product(modes, names, ("bfloat16", "float32")):
        if mode != "off" and bench.left < COMPILING:
            raise TimeoutError(f"{bench.left:.0f} s left, too few to compile {name} in {dtype}")
        if (name, dtype) not in oracles:
            pair = load(name, str(bench.device), dtype)
            contexts = flatten(pair[0], contexts_of(name, pair)[:1])
            new = latents * pair[0].grid_for(1).frame_tokens
            oracles[name, dtype] = pair[0], contexts, decode(pair[0], contexts, new, "ar").tokens
        model, contexts, oracle = oracles[name, dtype]
        for window in (64,) if bench.small or mode != "off" else (16, 64, 128):
            case = {"model": name, "dtype": dtype, "mode": mode, "window": window, "tokens": oracle.shape[1]}
            yield attempt(case, partial(compare, model, mode, window, contexts, oracle))


def compare(model: Any, mode: str, window: int, contexts: torch.Tensor, oracle: torch.Tensor) -> Record:
    """How many tokens of `pathwise` differ from ``oracle``, those of AR."""
    began, asked = time.perf_counter(), compiled(model, mode)
    found = decode(asked, contexts, oracle.shape[1], "pathwise", window)
    differ = (found.tokens != oracle)[0].cpu()
    return {
        "differ": int(differ.sum()),
        "first": int(differ.int().argmax()) if differ.any() else None,
        "passes": found.stats.passes,
        "seconds": time.perf_counter() - began,
        "bitwise": bool(getattr(asked, "bitwise", False)),
    }


def synthetic(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> CosmosModel:
    """A model of random weights that are made on the device. Its logits differ so much that few drafts are right."""
    with without_weights():
        network = CosmosTransformer(spec).to(dtype)
    network.to_empty(device=device).requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for weight in network.parameters():
        weight.fill_(1.0) if weight.ndim == 1 else weight.normal_(0, 0.02, generator=generator)
    network.output.weight.normal_(0, 6 / spec.dim**0.5, generator=generator)
    return CosmosModel(network)


def passes(bench: Bench) -> Iterator[Record]:
    """Milliseconds of a pass of a synthetic 4B, from drafts to commit, and memory, beside what `plan` predicts."""
    spec, dtype = SMALL if bench.small else PRESETS["4B"].spec, torch.bfloat16
    model = synthetic(spec, bench.device, dtype)
    widths, room = (64, 1, 128, 16, 256), model.max_positions
    prefixes = (2 * spec.grid.frame_tokens, room - max(widths))
    predicted = Predictions(spec, bench.device)
    modes = MODES if bench.device.type == "cuda" else MODES[: 1 if bench.small else 2]
    ways = {mode: compiled(model, mode) for mode in modes}
    for mode, window in product(modes, widths):
        if mode != "off" and bench.left < COMPILING:
            raise TimeoutError(f"{bench.left:.0f} s left, too few to compile window {window}")
        bench.peak()
        for prefix in prefixes:
            case = {"window": window, "prefix": prefix, "mode": mode, **predicted.of(window, prefix, mode)}
            yield attempt(case, partial(time_passes, bench, ways[mode], window, prefix))


def time_passes(bench: Bench, model: Any, window: int, prefix: int) -> Record:
    """The median of some passes of a decode whose context has ``prefix`` tokens. Nearly nothing is accepted."""
    # 7919 is a prime number: the tokens are spread over the vocabulary
    context = torch.arange(prefix)[None] * 7919 % model.vocab_size
    name, width = ("ar", None) if window == 1 else ("pathwise", window)
    decoder = choose_decoder(name, width, SamplingParams(1.0, 0.8))
    seconds = []
    steps = decode_steps(model, context, model.max_positions - prefix, decoder, None, Hooks(measure=True))
    next(steps)  # the prefill
    for _ in range(WARM + TIMED):
        bench.settle()
        began = time.perf_counter()
        next(steps)  # an error where a decode of random weights has fewer passes
        bench.settle()
        seconds.append(time.perf_counter() - began)
    steps.close()
    return {"ms": 1e3 * median(seconds[WARM:]), "peak": bench.peak()}


class Predictions:
    """What `vidjacobi plan` and `doctor` say of a pass."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        named = [sheet for name, sheet in SHEETS.items() if name in describe_device(device)]
        self.sheet = (named or ["h100"])[0]
        codec = replace(TokenizerSpec(), video_height=16 * spec.grid.h, video_width=16 * spec.grid.w)
        self._outline = outline_of("synthetic", spec, codec, torch.bfloat16)
        self._speed = fit_published().speed
        self._costs = DecoderCosts(self._outline, RolloutShape(load_decoder("pathwise")))

    def of(self, window: int, prefix: int, mode: str) -> Record:
        """Predicted milliseconds, but for compiled passes without graphs; bytes at the peak, weights included."""
        decoder = "ar" if window == 1 else "pathwise"
        config = load_decoder(decoder)
        shape = RolloutShape(config if window == 1 else with_window(config, window))
        peak = sum(self._outline.resident.values()) + max(expected(self._outline, shape).values())
        found: Record = {"sheet": self.sheet, "predicted_peak": peak}
        if mode == "default":
            return found
        speed = self._speed if mode == "off" else self._speed.captured()
        predictor = PassPredictor(self._costs, Machine(load_gpu(self.sheet), speed, "bfloat16"))
        return found | {"predicted_ms": 1e3 * total(predictor.pass_parts(decoder, window, prefix))}


STAGES: dict[str, Callable[[Bench], Iterator[Record]]] = {
    "about": about,
    "probe": probe,
    "identical": identical,
    "passes": passes,
}


def main() -> None:
    """Run one stage. What a stage raises ends the process; the records until then are in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600.0)
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(f"torch {torch.__version__} sees no CUDA device here: use --device cpu --small")
        memory = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY / memory), device)
    bench = Bench(device, args.small, time.monotonic() + args.seconds)
    with torch.no_grad(), args.records.open("a", encoding="utf-8") as file:
        for record in STAGES[args.stage](bench):
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main()
