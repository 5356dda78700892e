"""Load a checkpoint, prefill its context and make passes of several widths: seconds and memory beside the predicted.

It takes folders that `make_synthetic_checkpoint.py` wrote, or any others. The memory of a pass is that of all
tensors beside the weights at the worst moment. The memory of the load is the most that the process had (VmHWM),
less what it had before, mapped files included.

    python scripts/full_size.py /big/disk/4b
    python scripts/full_size.py /big/disk/4b --device cuda --widths 1 64 128 256 --out sizes.json
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.estimate.counting import counted
from vidjacobi.estimate.measuring import expected, fill, measure_decoding, measured, one_pass
from vidjacobi.estimate.scenario import RolloutShape, lengths_of
from vidjacobi.loading import load, outline
from vidjacobi.processes import process_memory


def main() -> None:
    """Print a line for each piece of work, then a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--widths", nargs="+", type=int, default=[1, 16, 64, 128])
    parser.add_argument("--decoder", help="also decode a few passes with it, at the last width")
    args = parser.parse_args()
    rows = []

    def say(work: str, seconds: float, count: int, plan: int | None = None) -> None:
        rows.append({"work": work, "seconds": seconds, "bytes": count, "predicted": plan})
        beside = f"{plan / 1e6:10.1f} MB predicted: {count / plan:.3f}x" if plan else ""
        print(f"{work:24} {seconds:9.2f} s {count / 1e6:10.1f} MB {beside}", flush=True)

    had, began = process_memory()["VmHWM"], time.perf_counter()
    model, _ = load(args.folder, args.device, args.dtype)
    say("load", time.perf_counter() - began, process_memory()["VmHWM"] - had)
    # The weights are memory-mapped: they are read from the disk only when they are used, here by summing them.
    began, total = time.perf_counter(), sum(float(p.sum()) for p in model.network.parameters())
    say(f"read all (sum {total:.0f})", time.perf_counter() - began, process_memory()["VmHWM"] - had)
    plan = outline(str(args.folder), model.dtype)
    lengths = lengths_of(plan, RolloutShape(load_decoder("ar")))
    # 7919 is a prime number: the tokens are spread over the vocabulary
    tokens = torch.arange(lengths.context)[None] * 7919 % model.vocab_size
    works = {f"prefill {lengths.context}": partial(fill, tokens=tokens)}
    for end in (lengths.context + max(args.widths), lengths.end):
        works |= {f"pass {n} at {end}": partial(one_pass, width=n, slots=end) for n in args.widths}
    caches = {one: one.make_cache(1, lengths.end) for one in (model, plan.model)}
    # Every piece of work runs twice: on the model, and on the outline without weights, whose tensors are counted.
    for name, work in works.items():
        seen = measured(model.device, partial(work, model, cache=caches[model]))
        say(name, seen.seconds, seen.peak, counted(partial(work, plan.model, cache=caches[plan.model])).peak)
    del caches
    if args.decoder:
        asked = RolloutShape(with_window(load_decoder(args.decoder), args.widths[-1]))
        found = measure_decoding(model, tokens, lengths.end - lengths.context, asked.decoder)
        for name, peak in expected(plan, asked).items():
            say(f"{args.decoder}: {name}", found[name].seconds, found[name].peak, peak)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
