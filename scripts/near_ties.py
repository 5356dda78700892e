"""How often rounding makes a pathwise token differ from AR's, per token, in float32, bfloat16 and float64.

A pass of another width may sum in another order; where two tokens' scores nearly tie, that flips the winner.
From the first flip on a clip has another history, so the rate is flips / tokens decided up to the first flip.
`ar` is run one token per pass (width 1) and at the window's width; the latter removes what comes from shapes.

    python scripts/near_ties.py --clips 8 --window 64
    python scripts/near_ties.py --dtypes bfloat16 --clips 16 --frames 24
"""

import argparse
import json

import torch

from vidjacobi import decode, load
from vidjacobi.bench.material import contexts_of
from vidjacobi.models.protocol import flatten


def flips(found: torch.Tensor, oracle: torch.Tensor) -> tuple[int, int]:
    """(clips that differ somewhere, tokens decided up to and with the first difference)."""
    wrong = found != oracle
    first = torch.where(wrong.any(1), wrong.long().argmax(1) + 1, wrong.shape[1])
    return int(wrong.any(1).sum()), int(first.sum())


def main() -> None:
    """Print one row per dtype, then one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--latents", type=int, default=3, help="latent frames to decide")
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32", "bfloat16"])
    args = parser.parse_args()
    rows = []
    for dtype in args.dtypes:
        pair = load("nano", dtype=dtype)
        grids = contexts_of("nano", pair)[: args.clips]
        contexts, count = flatten(pair[0], grids), args.latents * grids[0, 0].numel()
        for width in (1, args.window):
            pairs = [
                (
                    decode(pair[0], context[None], count, "pathwise", args.window).tokens,
                    decode(pair[0], context[None], count, "ar", width).tokens,
                )
                for context in contexts
            ]
            flipped, tokens = flips(*(torch.cat(side) for side in zip(*pairs, strict=True)))
            rows.append({"dtype": dtype, "ar_width": width, "flipped": flipped, "tokens": tokens})
            print(f"{dtype:9} ar width {width:3}: {flipped} flips in {tokens} tokens", flush=True)
    print(json.dumps({"window": args.window, "rows": rows}))


if __name__ == "__main__":
    main()
