"""How likely decided tokens are under the model, and how far the laws that decided them were from its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.models.protocol import VideoModel
from vidjacobi.sampling.probs import SamplingParams, logits_to_probs
from vidjacobi.shapes import Logits, Mask, Positions, Probs, Tokens


@dataclass(frozen=True)
class Likelihood:
    """Means over each clip's new tokens, in nats a token.

    Attributes:
        nll: -log p of the tokens, p the model's law of the whole vocabulary given the clip's own tokens.
        excess: nll minus what it would be on average if each token were drawn from the model's law, top-p and all,
            given the clip's own earlier tokens: 0 but for chance of a lossless decoder.
        kl: KL(law that decided the token, p), also of the whole vocabulary; None where it was not watched.
            0 for every decoder that decides a token on the very tokens to its left, whatever its verifier.
    """

    nll: Float[Tensor, " b"]
    excess: Float[Tensor, " b"]
    kl: Float[Tensor, " b"] | None


class Watched:
    """The logits that decided each token of a decode; give it to ``vidjacobi.decode`` as ``watch``."""

    def __init__(self) -> None:
        self._logits: list[Float[Tensor, "m v"]] = []
        self._places: list[Int[Tensor, "m 2"]] = []  # (clip, position)

    def __call__(self, positions: Positions, decided: Mask, logits: Logits) -> None:
        clips, slots = decided.nonzero(as_tuple=True)
        self._places.append(torch.stack([clips, positions[clips, slots]], -1))
        self._logits.append(logits[clips, slots])

    def rows(self, batch: int, columns: int) -> tuple[Float[Tensor, "m v"], Int[Tensor, "b p"]]:
        """All logits, and for each clip and position the index of its last one, -1 where there is none."""
        logits, places = torch.cat(self._logits), torch.cat(self._places)
        index = torch.full((batch, columns), -1, dtype=torch.long, device=places.device)
        # a later row of the same place wins: amax instead of an assignment in no certain order
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
) -> Likelihood:
    """Feed whole clips, context and ``new_tokens`` decided tokens, and look the tokens' laws up.

    ``sampling`` is the decoder's. Likelihoods are at its temperature (1 where it is 0: a greedy law has none),
    without top-k and top-p.
    """
    batch, length = clips.shape
    whole = SamplingParams(sampling.temperature or 1.0, top_p=1.0)
    cache = model.make_cache(batch, length)
    rows = watched.rows(batch, length) if watched else None
    nll: list[Float[Tensor, "b m"]] = []
    expected: list[Float[Tensor, "b m"]] = []
    kl: list[Float[Tensor, "b m"]] = []
    first = length - new_tokens
    for logits in model.prefill(clips[:, :-1], cache, new_tokens):
        last = first + logits.shape[1]
        laws = logits_to_probs(logits, whole)
        nll.append(-laws.gather(-1, clips[:, first:last, None])[..., 0].log())
        drawn = logits_to_probs(logits, sampling)
        expected.append(-torch.where(drawn > 0, drawn * laws.log(), 0).sum(-1))
        if rows:
            index = rows[1][:, first:last]
            used = logits_to_probs(rows[0][index.clamp(min=0)], whole)
            kl.append(torch.where(index >= 0, divergence(used, laws), 0))
        first = last
    likelihood = torch.cat(nll, 1).mean(1)
    excess = likelihood - torch.cat(expected, 1).mean(1)
    return Likelihood(likelihood, excess, torch.cat(kl, 1).mean(1) if rows else None)


def divergence(used: Probs, own: Probs) -> Float[Tensor, "b n"]:
    """KL(used, own) of every row; a token that ``used`` gives no mass counts nothing."""
    return torch.where(used > 0, used * (used.log() - own.log()), 0).sum(-1)
