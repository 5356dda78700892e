"""Long rollouts of nano-pusht under given actions: in chunks, each behind the last frames of the one before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vidjacobi.decoding.api import decode
from vidjacobi.families.pusht import SAMPLING, PushT
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.sampling.probs import SamplingParams


def context_of(family: PushT) -> int:
    """Frames that a chunk begins with: half a clip of the model."""
    return family.network.grid.t // 2


class PushRollouts:
    """Clips that are continued frame by frame; one noise for each (clip, frame), so chunks may be of any length.

    Args:
        tokens: of the context ``[b f p]``, two frames or more.
        actions: that led to the context's frames ``[b f-1 k]``.
        clips: their names; what is drawn depends on them and the seed alone.
        sampling: how tokens are drawn, the seed left out.
    """

    def __init__(
        self,
        family: PushT,
        tokens: Int[Tensor, "b f p"],
        actions: Float[Tensor, "b g k"],
        clips: Sequence[str],
        decoder: str = "pathwise",
        seed: int = 0,
        sampling: SamplingParams = SAMPLING,
    ) -> None:
        self.family, self.tokens, self.actions, self.clips = family, tokens, actions, list(clips)
        self.decoder, self.frames_made = decoder, 0
        self.sampling = replace(sampling, seed=seed)
        self.passes = 0.0  # of a clip, prefills included

    def advance(self, actions: Float[Tensor, "b g k"]) -> Int[Tensor, "b g p"]:
        """Decode as many frames as there are actions; their tokens."""
        most, made = self.family.network.grid.t - context_of(self.family), []
        for part in actions.split(most, 1):
            made.append(self._chunk(part))
        return torch.cat(made, 1)

    def _chunk(self, actions: Float[Tensor, "b g k"]) -> Int[Tensor, "b g p"]:
        length = context_of(self.family)
        # The actions between the frames of a context, one fewer than these; new ones lead on from its last frame.
        context, told = (
            self.tokens[:, -length:],
            self.actions[:, max(0, self.actions.shape[1] - length + 1) :],
        )
        model = self.family.world(torch.cat([told, actions], 1))
        new = actions.shape[1] * context.shape[2]
        names = [f"{clip}/{self.frames_made}" for clip in self.clips]
        window = None if self.decoder == "ar" else context.shape[2]
        given = context.flatten(1).to(model.device)
        found = decode(model, given, new, self.decoder, window, self.sampling, clip_ids=names)
        self.passes += sum(found.stats.nfe) / len(found.stats.nfe)
        self.frames_made += actions.shape[1]
        tokens = found.tokens.cpu().unflatten(1, (actions.shape[1], -1))
        self.tokens = torch.cat([self.tokens, tokens], 1)
        self.actions = torch.cat([self.actions, actions], 1)
        return tokens


@torch.no_grad()
def encoded(family: PushT, pictures: UInt8[np.ndarray, "n f s s 3"]) -> Int[Tensor, "n f p"]:
    """Tokens of pictures."""
    pixels = torch.from_numpy(pictures).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return torch.cat([family.tokenizer.encode(part).cpu() for part in pixels.split(4)]).flatten(2)


@torch.no_grad()
def shown(family: PushT, tokens: Int[Tensor, "b f p"]) -> UInt8[np.ndarray, "b f s s 3"]:
    """The pictures of tokens."""
    grid = family.network.grid
    clips = tokens.unflatten(2, (grid.h, grid.w))
    return np.stack([tokens_to_frames(clip, family.tokenizer).numpy() for clip in clips])
