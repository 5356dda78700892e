"""Whether `pathwise` decides the very tokens of AR, bit for bit: whole rollouts, every window, ragged batches.

Each clip is decoded one by one, one token per pass, in one thread. Then `pathwise` decodes batches of clips whose
contexts differ in length, and every token must be the same. With ``--unpadded`` passes are of whatever size comes:
the control, which must differ. AR itself is the reference at one thread only, so ``--threads 2`` says whether the
threads matter too. The status is 1 where a token differs and the model promises that none does.

    python scripts/near_ties.py
    python scripts/near_ties.py --models nano --dtypes bfloat16 --clips 2 --windows 64 --unpadded
"""

import argparse
import sys
import time
from itertools import product

import torch
from torch import Tensor

from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi import SamplingParams, decode, load
from vidjacobi.bench.material import contexts_of
from vidjacobi.invariance import PLAIN, PassShape
from vidjacobi.models.protocol import flatten

CUTS = (0, 43, 140, 319, 7, 200, 91, 250)  # tokens that the contexts of a batch are shorter


class Unpadded(CosmosTransformer):
    """Passes of whatever size comes."""

    def settle(self, device: torch.device) -> PassShape:
        """No padding."""
        return PLAIN


def flips(found: list[Tensor], wanted: list[Tensor]) -> int:
    """Clips that differ somewhere."""
    return sum(not torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def run(name: str, dtype: str, args: argparse.Namespace) -> tuple[int, int, bool]:
    """(clips compared that differ, tokens compared, whether the model promises that none does)."""
    pair = load(name, dtype=dtype)
    model = pair[0]
    assert isinstance(model, CosmosModel)
    if args.unpadded:
        model.network.__class__ = Unpadded
    print(
        f"{name} {dtype}: {'no padding' if args.unpadded else model.network.settle(model.device)}", flush=True
    )
    whole = flatten(model, contexts_of(name, pair)[: args.clips])
    contexts = [row[: len(row) - CUTS[index % len(CUTS)]] for index, row in enumerate(whole)]
    count, differ, tokens = args.latents * model.spec.grid.frame_tokens, 0, 0
    for seed in args.seeds:
        sampling = SamplingParams(seed=seed)
        torch.set_num_threads(1)
        wanted = [
            decode(model, one[None], count, "ar", 1, sampling, clip_ids=[str(i)])
            for i, one in enumerate(contexts)
        ]
        for threads, window, batch in product(args.threads, args.windows, args.batches):
            torch.set_num_threads(threads)
            began, found = time.process_time(), []
            for first in range(0, len(contexts), batch):
                part = contexts[first : first + batch]
                ids = [str(first + index) for index in range(len(part))]
                found += list(decode(model, part, count, "pathwise", window, sampling, clip_ids=ids).tokens)
            wrong = flips(found, [one.tokens[0] for one in wanted])
            differ, tokens = differ + wrong, tokens + count * len(contexts)
            seconds = time.process_time() - began
            print(
                f"  seed {seed}, {threads} threads, window {window:3}, batches of {batch}: {wrong} of "
                f"{len(contexts)} clips differ, {tokens:,} tokens so far, {seconds:.0f} s of CPU",
                flush=True,
            )
    return differ, tokens, model.bitwise


def main() -> int:
    """Print a line for each setting and the sums."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["nano", "micro"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--latents", type=int, default=3, help="latent frames to decide")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 16, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--unpadded", action="store_true", help="the control: no padding")
    args = parser.parse_args()
    found = {one: run(*one, args) for one in product(args.models, args.dtypes)}
    for (name, dtype), (differ, tokens, promised) in found.items():
        said = "identical (bitwise)" if promised else "up to rounding"
        print(f"{name} {dtype}: {differ} clips differ in {tokens:,} tokens; promised: {said}")
    return int(any(differ and promised for differ, _, promised in found.values()))


if __name__ == "__main__":
    sys.exit(main())
