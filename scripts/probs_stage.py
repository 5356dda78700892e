"""What a pass does between logits and tokens, beside the plain way: probs, rejection test, residual, redraft.

The plain way sorts the vocabulary and uses dense probabilities, as ``logits_to_probs`` and ``gumbel_max`` do, with
the same noise. The two ways alternate, and are measured in CPU seconds. Memory is the most that the process had,
less what it had before (on Linux only).

    python scripts/probs_stage.py
    python scripts/probs_stage.py --window 64 --nuclei 100 4000 --dtypes bfloat16
"""

import argparse
import ctypes
import gc
import time
from pathlib import Path
from statistics import NormalDist, median

import torch

from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal
from vidjacobi.processes import process_memory
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import (
    SamplingParams,
    SparseProbs,
    gumbel_max,
    logits_to_probs,
    normalise,
    probability,
    residual,
)
from vidjacobi.sampling.sampler import draw, to_truncated_probs, top_k_probs
from vidjacobi.sampling.truncated_probs import DraftProbs

KEEP, FRESH = 256, 8  # tokens that are remembered of each position; slots of the window with a fresh draft


def plain(now, before, slot, fresh, drafts, noise):
    """The plain way. ``before`` are the dense probs of the last pass."""
    p = logits_to_probs(now, SamplingParams())
    # q of each slot: what its draft was drawn from in the last pass, or the fresh probs where it had none
    copied = before.flatten(0, 1).index_select(0, slot.clamp(min=0).flatten()).view(before.shape)
    q = fresh.instead_of(copied, slot < 0)
    kept = noise.uniform(Purpose.ACCEPT) * probability(q, drafts) < probability(p, drafts)
    left = gumbel_max(residual(p, q), noise.exponential_where(Purpose.REDRAW, p > 0))
    redraft = gumbel_max(p, noise.exponential_where(Purpose.GUMBEL, p > 0))
    probs, ids = p.topk(KEEP, -1)
    return torch.where(kept, drafts, left), redraft, SparseProbs(ids, normalise(probs))


def ours(now, nuclei, slot, fresh, drafts, noise):
    """The way of the decoders. ``nuclei`` are the truncated probs of the last pass."""
    p = to_truncated_probs(now, SamplingParams())
    evidence = DraftEvidence(drafts, DraftProbs(nuclei, slot, fresh, p.vocab_size), p, noise)
    verdict, redraft = evidence.draw(Maximal()), evidence.draw(Gumbel())
    return verdict.tokens, redraft.tokens, top_k_probs(p, KEEP)


def timed(work, *given):
    """(result, CPU seconds, bytes beyond those that the process had before) of a call."""
    gc.collect()
    # returns freed memory to the system, so that it counts when it is used again
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the most memory that the process had
    had, began = process_memory()["VmHWM"], time.process_time()
    result = work(*given)
    return result, time.process_time() - began, process_memory()["VmHWM"] - had


def main() -> None:
    """Print a line for each dtype and size of the nucleus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=64_000)
    parser.add_argument("--nuclei", type=int, nargs="+", default=[16, 256, 2048, 4096, 51_200])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    n, size, normal = args.window, args.vocabulary, NormalDist()
    for name, width in ((name, width) for name in args.dtypes for width in args.nuclei):
        generator = torch.Generator().manual_seed(width)
        # A nucleus of ``width`` tokens: of normal logits with deviation s, those above s - 0.84 hold 0.8 of the mass.
        spread = max(0.01, normal.inv_cdf(max(0.2, 1 - width / size)) + normal.inv_cdf(0.8))
        logits = spread * torch.randn(1, n, size, generator=generator)
        last, now = logits, logits + spread / 3 * torch.randn(logits.shape, generator=generator)
        last, now = (each.to(getattr(torch, name)) for each in (last, now))
        noise = Noise(
            noise_roots(0, torch.zeros(1).long()), torch.arange(n)[None], torch.ones(1).long(), torch.float32
        )
        slot = torch.where(torch.arange(n) < n - FRESH, (torch.arange(n) + 5) % n, -1)[None]
        nuclei = to_truncated_probs(last, SamplingParams()).alone()
        before = logits_to_probs(last, SamplingParams())
        fresh, drafts = top_k_probs(nuclei, KEEP), draw(nuclei.slots(slot.clamp(min=0)), noise, Purpose.FRESH)
        given, widths = (slot, fresh, drafts, noise), (logits_to_probs(now, SamplingParams()) > 0).sum(-1)
        seconds = []
        for _ in range(args.times):
            a, old, old_memory = timed(plain, now, before, *given)
            b, new, new_memory = timed(ours, now, nuclei, *given)
            assert all(torch.equal(x, y) for x, y in zip(a[:2], b[:2], strict=True)), "other tokens"
            seconds.append((old, new))
        old, new = (median(column) for column in zip(*seconds, strict=True))
        print(
            f"{name:9} nuclei {int(widths.median()):6} (most {int(widths.max()):6})  plain {1e3 * old:6.0f} ms "
            f"{old_memory / 1e6:5.0f} MB  ours {1e3 * new:6.0f} ms {new_memory / 1e6:5.0f} MB  "
            f"{median(x / y for x, y in seconds):.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
