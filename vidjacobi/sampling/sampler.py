"""From logits to laws, and draws from laws: the whole stage behind a pass, whichever way is taken."""

import torch

from vidjacobi.sampling import dense, sparse, top_p_cutoffs
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.reference import SparseLaws, Warp, law_dtype
from vidjacobi.sampling.truncated_probs import DraftLaws, Nuclei, few_tokens
from vidjacobi.shapes import Logits, Mask, Tokens


def nuclei_of(logits: Logits, warp: Warp) -> Nuclei:
    """The laws of ``laws_of``, without sorting the vocabulary."""
    peak = logits.amax(-1, keepdim=True).to(law_dtype(logits.dtype))
    divisor = torch.full_like(peak, warp.temperature or torch.inf)
    if warp.temperature == 0:
        return Nuclei(logits, peak, peak, torch.ones_like(peak), divisor, logits.argmax(-1, keepdim=True))
    # where they end is not known yet
    nuclei = Nuclei(logits, peak, peak, peak, divisor)
    return (top_p_cutoffs if few_tokens(logits) else dense).cut(nuclei, warp)


def draw(
    target: Nuclei,
    noise: Noise,
    purpose: Purpose,
    drawn: DraftLaws | None = None,
    wanted: Mask | None = None,
) -> Tokens:
    """argmax(log w + G) of every row, w = p, or max(0, p - q) where draft laws are given and p where that is 0.

    Rows that are not ``wanted`` may return anything.
    """
    if few_tokens(target.logits):
        return sparse.draw(target, noise, purpose, drawn, wanted)
    return dense.draw(target, noise, purpose, drawn)


def strongest(nuclei: Nuclei, keep: int) -> SparseLaws:
    """The ``keep`` likeliest tokens of each row, renormalised. Where there are fewer, the rest has probability 0."""
    return (sparse if few_tokens(nuclei.logits) else dense).strongest(nuclei, keep)
