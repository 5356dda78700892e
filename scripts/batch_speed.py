"""Clips per second through 8 rows against one row, and what 8 futures of one context save by sharing its prefill.

The cases are measured in turn, --repeats times, and ratios are those of the medians. "same" counts the clips that
have the same tokens as through one row.

    python scripts/batch_speed.py python scripts/batch_speed.py --cases pathwise:64 fast:64 --clips 16 --rows 4 8
    --repeats 3 python scripts/batch_speed.py --clock cpu    # CPU seconds of this process, for a machine that is
    also used by others
"""

import argparse
import json
import time
from functools import partial
from statistics import median

import torch

from vidjacobi import Finished, Request, decode, decode_each, load
from vidjacobi.bench.material import contexts_of
from vidjacobi.models.protocol import flatten

CASES = ["ar:1", "pathwise:16", "pathwise:32", "pathwise:64", "pathwise:128"]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def queue(model, contexts: torch.Tensor, count: int, case: str, rows: int) -> dict[str, list[int]]:
    """The tokens of every clip, by its name, decoded through so many rows."""
    decoder, _, window = case.partition(":")
    requests = [Request(context, count, f"clip {index}") for index, context in enumerate(contexts)]
    done = decode_each(model, requests, rows, decoder, int(window))
    return {one.request.name: one.decoded.tokens[0].tolist() for one in done if isinstance(one, Finished)}


def prefills(model, context: torch.Tensor, futures: int, together: int) -> None:
    """Decide a single token of some futures of one clip: little more than their prefills."""
    # Futures of equal contexts in the same batch share a prefill; ``together`` is the size of the batches.
    for first in range(0, futures, together):
        names = [("clip", 0, sample, 0) for sample in range(first, first + together)]
        decode(model, context.repeat(together, 1), 1, clip_ids=names)


def main() -> None:
    """Print a line for each case, then a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=CASES, help="decoder:window")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--latents", type=int, default=3, help="latent frames to decide")
    parser.add_argument("--rows", nargs="+", type=int, default=[8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    pair, now, found = load(args.model), CLOCKS[args.clock], {}
    grids = contexts_of(args.model, pair)[: args.clips]
    contexts, count = flatten(pair[0], grids), args.latents * grids[0, 0].numel()
    runs = {f"{case} rows {rows}": partial(queue, pair[0], contexts, count, case, rows)
            for case in args.cases for rows in (1, *args.rows)}  # fmt: skip
    for together in (1, 8):
        runs[f"prefills {together}"] = partial(prefills, pair[0], contexts[:1], 8, together)
    prefills(pair[0], contexts[:1], 1, 1)  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            began = now()
            found[name] = run()
            seconds[name].append(now() - began)
    took, ratios = {name: round(median(each), 3) for name, each in seconds.items()}, {}
    for name in (name for name in runs if not name.startswith("prefills")):
        alone = name.split()[0] + " rows 1"
        same = sum(found[name][clip] == tokens for clip, tokens in found[alone].items())
        ratios[name] = round(took[alone] / took[name], 3)
        rate = len(contexts) / took[name]
        print(f"{name:22} {rate:8.4f} clips/s, ratio {ratios[name]:.2f}, same {same}/{len(contexts)}")
    print(f"8 futures: a prefill each {took['prefills 1']} s, one for all {took['prefills 8']} s")
    print(json.dumps({"seconds": took, "ratios": ratios}))


if __name__ == "__main__":
    main()
