"""Whether `pathwise` decides the very tokens of AR, bit for bit: whole clips, every window, ragged batches.

Each clip is decoded one by one, one token per pass, in one thread. Then `pathwise` decodes batches of clips whose
contexts differ in length, and every token must be the same. With ``--unpadded`` passes are of whatever size comes:
the control, which must differ. AR itself is the reference at one thread only, so ``--threads 2`` says whether the
threads matter too. The status is 1 where a token differs and the model promises that none does.

``nano-image`` stands for the networks of other authors, which run the layers of ``transformers``: pictures of a class
each, all of their cells but some of the first.

    python scripts/near_ties.py
    python scripts/near_ties.py --models nano --dtypes bfloat16 --clips 2 --windows 64 --unpadded
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi import SamplingParams, decode, load, load_family
from vidjacobi.bench.material import contexts_of
from vidjacobi.families.passes import Passes
from vidjacobi.families.prompts import first_tokens
from vidjacobi.invariance import PLAIN, PassShape
from vidjacobi.models.protocol import flatten

CUTS = (0, 43, 140, 319, 7, 200, 91, 250)  # tokens that the contexts of a batch are shorter
PICTURES, GIVEN = "nano-image", (0, 5, 23, 1, 40, 12, 31, 8)  # cells that are given of each picture


class Unpadded(CosmosTransformer):
    """Passes of whatever size comes."""

    def settle(self, device: torch.device) -> PassShape:
        """No padding."""
        return PLAIN


class UnpaddedPasses(Passes):
    """Passes of whatever size comes."""

    def settle(self) -> PassShape:
        """No padding."""
        return self.adopt(PLAIN)


@dataclass(frozen=True)
class Clips:
    """What is decoded: contexts, tokens to decide of each, and conditions, where the model takes some."""

    model: Any
    contexts: list[Tensor]
    counts: list[int]
    conditions: list[Any] | None = None

    def decode(
        self, rows: Sequence[int], decoder: str, window: int, sampling: SamplingParams
    ) -> list[Tensor]:
        """The new tokens of some of them, in one batch."""
        found = decode(
            self.model,
            [self.contexts[row] for row in rows],
            [self.counts[row] for row in rows],
            decoder,
            window,
            sampling,
            clip_ids=[str(row) for row in rows],
            conditions=None if self.conditions is None else [self.conditions[row] for row in rows],
        ).tokens
        return [tokens[: self.counts[row]] for tokens, row in zip(found, rows, strict=True)]


def videos(name: str, dtype: str, args: argparse.Namespace) -> Clips:
    """Contexts of the model's own clips, cut to different lengths."""
    pair = load(name, dtype=dtype)
    model = pair[0]
    assert isinstance(model, CosmosModel)
    if args.unpadded:
        model.network.__class__ = Unpadded
    whole = flatten(model, contexts_of(name, pair)[: args.clips])
    contexts = [row[: len(row) - CUTS[index % len(CUTS)]] for index, row in enumerate(whole)]
    return Clips(model, contexts, [args.latents * model.spec.grid.frame_tokens] * len(contexts))


def pictures(name: str, dtype: str, args: argparse.Namespace) -> Clips:
    """Pictures of a class each, of which some cells are given: AR drew them."""
    family = load_family(name, dtype=dtype)
    model: Any = family.of_classes([row % len(family.classes) for row in range(args.clips)], args.scale)
    if args.unpadded:
        for branch in getattr(model, "branches", [model]):
            branch.passes.__class__ = UnpaddedPasses
    conditions, start = list(model.conditions), list(first_tokens(model, args.clips))
    given = [GIVEN[row % len(GIVEN)] for row in range(args.clips)]
    drawn = Clips(model, start, [max(given)] * args.clips, conditions)
    cells = [drawn.decode([row], "ar", 1, SamplingParams(seed=9))[0] for row in range(args.clips)]
    contexts = [torch.cat([one, own[:some]]) for one, own, some in zip(start, cells, given, strict=True)]
    return Clips(model, contexts, [model.grid_for(1).tokens - some for some in given], conditions)


def flips(found: list[Tensor], wanted: list[Tensor]) -> int:
    """Clips that differ somewhere."""
    return sum(not torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def run(name: str, dtype: str, args: argparse.Namespace) -> tuple[int, int, bool]:
    """(clips compared that differ, tokens compared, whether the model promises that none does)."""
    clips = (pictures if name == PICTURES else videos)(name, dtype, args)
    promised = clips.model.bitwise
    print(f"{name} {dtype}: {'no padding' if args.unpadded else clips.model.padding}", flush=True)
    differ, tokens, every = 0, 0, range(len(clips.contexts))
    for seed in args.seeds:
        sampling = SamplingParams(seed=seed)
        torch.set_num_threads(1)
        wanted = [clips.decode([row], "ar", 1, sampling)[0] for row in every]
        for threads, window, batch in product(args.threads, args.windows, args.batches):
            torch.set_num_threads(threads)
            began, found = time.process_time(), []
            for first in range(0, len(every), batch):
                found += clips.decode(every[first : first + batch], "pathwise", window, sampling)
            wrong = flips(found, wanted)
            differ, tokens = differ + wrong, tokens + sum(clips.counts)
            seconds = time.process_time() - began
            print(
                f"  seed {seed}, {threads} threads, window {window:3}, batches of {batch}: {wrong} of "
                f"{len(every)} clips differ, {tokens:,} tokens so far, {seconds:.0f} s of CPU",
                flush=True,
            )
    return differ, tokens, promised


def main() -> int:
    """Print a line for each setting and the sums."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["nano", "micro", PICTURES])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--latents", type=int, default=3, help="latent frames to decide")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 16, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scale", type=float, default=3.0, help="guidance of pictures; 1: none")
    parser.add_argument("--unpadded", action="store_true", help="the control: no padding")
    args = parser.parse_args()
    found = {one: run(*one, args) for one in product(args.models, args.dtypes)}
    for (name, dtype), (differ, tokens, promised) in found.items():
        said = "identical (bitwise)" if promised else "up to rounding"
        print(f"{name} {dtype}: {differ} clips differ in {tokens:,} tokens; promised: {said}")
    return int(any(differ and promised for differ, _, promised in found.values()))


if __name__ == "__main__":
    sys.exit(main())
