"""From logits to laws, and draws from laws: the whole stage behind a pass, whichever way is taken."""

import torch

from vidjacobi.sampling import dense, sparse, top_p_cutoffs
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.params import SamplingParams
from vidjacobi.sampling.reference import SparseProbs, probs_dtype
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs, takes_sparse_path
from vidjacobi.shapes import Logits, Mask, Tokens


def to_truncated_probs(logits: Logits, sampling: SamplingParams) -> TruncatedProbs:
    """The laws of ``logits_to_probs``, without sorting the vocabulary."""
    peak = logits.amax(-1, keepdim=True).to(probs_dtype(logits.dtype))
    divisor = torch.full_like(peak, sampling.divisor)
    if sampling.greedy:
        return TruncatedProbs(
            logits, peak, peak, torch.ones_like(peak), divisor, logits.argmax(-1, keepdim=True)
        )
    # where they end is not known yet
    nuclei = TruncatedProbs(logits, peak, peak, peak, divisor)
    return (top_p_cutoffs if takes_sparse_path(logits) else dense).cut(nuclei, sampling)


def draw(
    target: TruncatedProbs,
    noise: Noise,
    purpose: Purpose,
    drawn: DraftProbs | None = None,
    wanted: Mask | None = None,
) -> Tokens:
    """argmax(log w + G) of every row, w = p, or max(0, p - q) where draft laws are given and p where that is 0.

    Rows that are not ``wanted`` may return anything.
    """
    if takes_sparse_path(target.logits):
        return sparse.draw(target, noise, purpose, drawn, wanted)
    return dense.draw(target, noise, purpose, drawn)


def top_k_probs(nuclei: TruncatedProbs, keep: int) -> SparseProbs:
    """The ``keep`` likeliest tokens of each row, renormalised. Where there are fewer, the rest has probability 0."""
    return (sparse if takes_sparse_path(nuclei.logits) else dense).top_k_probs(nuclei, keep)
