"""How often rounding makes a token of `pathwise` differ from AR's, in float64, float32 and bfloat16.

A pass of another width may sum in another order. Where the scores of two tokens are nearly equal, the other one then
wins: a flip. After its first flip a clip has another history, so the rate is the number of flips divided by the
tokens decided up to the first flip. `ar` runs with one token per pass (width 1) and with the width of the window,
which leaves only what does not come from shapes.

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
    """(number of clips that differ somewhere, tokens decided up to the first difference and with it)."""
    wrong = found != oracle
    # argmax of True and False is the index of the first True
    first = torch.where(wrong.any(1), wrong.long().argmax(1) + 1, wrong.shape[1])
    return int(wrong.any(1).sum()), int(first.sum())


def main() -> None:
    """Print a line for each dtype and width, then a line of JSON."""
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
