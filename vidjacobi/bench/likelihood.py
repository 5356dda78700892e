"""How likely decided tokens are under the model, and how far the probs that decided them were from its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.models.protocol import VideoModel, conditions_of, takes_conditions
from vidjacobi.sampling.probs import SamplingParams, logits_to_probs
from vidjacobi.shapes import Logits, Mask, Positions, Probs, Tokens


@dataclass(frozen=True)
class Likelihood:
    """Means over each clip's new tokens, in nats a token.

    Attributes:
        nll: -log p of the tokens, where p are the model's probs over the whole vocabulary, given the clip's own
        tokens.
        excess: nll minus its mean if each token were drawn from the model's probs, with top-p, given the clip's own
            earlier tokens. For a lossless decoder this is 0 up to chance.
        kl: KL(probs that decided the token, p), also over the whole vocabulary; None where it was not watched. It
        is 0
            for every decoder that decides each token given exactly the tokens to its left, whatever its verifier is.
    """

    nll: Float[Tensor, " b"]
    excess: Float[Tensor, " b"]
    kl: Float[Tensor, " b"] | None


class Watched:
    """Keeps the logits that decided each token of a decode. ``vidjacobi.decode`` takes it as ``watch``."""

    def __init__(self) -> None:
        self._logits: list[Float[Tensor, "m v"]] = []
        self._places: list[Int[Tensor, "m 2"]] = []  # (clip, position)

    def __call__(self, positions: Positions, decided: Mask, logits: Logits) -> None:
        clips, slots = decided.nonzero(as_tuple=True)
        self._places.append(torch.stack([clips, positions[clips, slots]], -1))
        self._logits.append(logits[clips, slots])

    def rows(self, batch: int, columns: int) -> tuple[Float[Tensor, "m v"], Int[Tensor, "b p"]]:
        """All logits, and for each clip and position the index of its last logits among them, -1 without any."""
        logits, places = torch.cat(self._logits), torch.cat(self._places)
        index = torch.full((batch, columns), -1, dtype=torch.long, device=places.device)
        # A position may be decided more than once, and the last time counts. An assignment to repeated indices has no
        # certain order, so the largest number wins: places 5 7 5 give index[5] = max(0, 2) = 2 and index[7] = 1.
        flat = places[:, 0] * columns + places[:, 1]
        order = torch.arange(len(flat), device=flat.device)
        index.view(-1).scatter_reduce_(0, flat, order, "amax")
        return logits, index


@torch.inference_mode()
def score(
    model: VideoModel,
    clips: Tokens,
    new_tokens: int,
    sampling: SamplingParams,
    watched: Watched | None = None,
    conditions: Sequence[Any] | None = None,
) -> Likelihood:
    """The likelihood of the last ``new_tokens`` tokens of whole clips ``[b p]``, computed by a single prefill.

    ``sampling`` and ``conditions`` are the decoder's. Likelihoods are taken at its temperature, without top-k and
    top-p. Temperature 0, at which every other token would have likelihood 0, counts as 1.
    """
    batch, length = clips.shape
    whole = SamplingParams(sampling.temperature or 1.0, top_p=1.0)
    cache = model.make_cache(batch, length)
    if found := conditions_of(model, conditions, [length] * batch):
        assert takes_conditions(model)
        model.set_conditions(cache, found[0])
    rows = watched.rows(batch, length) if watched else None
    nll: list[Float[Tensor, "b m"]] = []
    expected: list[Float[Tensor, "b m"]] = []
    kl: list[Float[Tensor, "b m"]] = []
    first = length - new_tokens
    # The input at position i yields the probs of position i + 1, so the last token is not fed. Chunks keep the logits
    # of a whole clip, gigabytes for a large vocabulary, from being in memory at once.
    for logits in model.prefill(clips[:, :-1], cache, new_tokens):
        last = first + logits.shape[1]
        probs = logits_to_probs(logits, whole)
        nll.append(-probs.gather(-1, clips[:, first:last, None])[..., 0].log())
        # The mean nll of a token drawn from ``drawn`` is the cross entropy -sum(drawn * log(probs)).
        drawn = logits_to_probs(logits, sampling)
        expected.append(-torch.where(drawn > 0, drawn * probs.log(), 0).sum(-1))
        if rows:
            index = rows[1][:, first:last]
            used = logits_to_probs(rows[0][index.clamp(min=0)], whole)
            kl.append(torch.where(index >= 0, divergence(used, probs), 0))
        first = last
    likelihood = torch.cat(nll, 1).mean(1)
    excess = likelihood - torch.cat(expected, 1).mean(1)
    return Likelihood(likelihood, excess, torch.cat(kl, 1).mean(1) if rows else None)


def divergence(used: Probs, own: Probs) -> Float[Tensor, "b n"]:
    """KL(used, own) of every row; tokens of probability 0 in ``used`` add nothing."""
    return torch.where(used > 0, used * (used.log() - own.log()), 0).sum(-1)
