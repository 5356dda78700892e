"""iVideoGPT's image tokenizers as a video tokenizer: context frames, then new ones, in latent frames of 4x4."""

import torch
import torch.nn.functional as F

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.ivideogpt import FRAME, SIDE
from vidjacobi.families.pairs import IVideoGPTPair
from vidjacobi.shapes import GridTokens, Pixels


class PairAsTokenizer:
    """See ``vidjacobi.models.tokenizer.ContextTokenizer``. A context frame of 16x16 codes is 16 latent frames."""

    stride_t = 1

    def __init__(self, pair: IVideoGPTPair) -> None:
        self._pair, self.context, self.max_frames = pair, pair.context, pair.max_frames
        self.frame_size = pair.frame_size
        self._codes = pair.tokenizer.spec.side**2  # of a context frame

    def latents_of(self, frames: int) -> int:
        """See ContextTokenizer."""
        return self.context * self._codes // FRAME + frames - self.context

    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels ``[b 3 T H W]`` in [-1, 1] to tokens. Raises InvalidArgument for fewer frames than the context's."""
        if pixels.shape[2] < self.context:
            raise InvalidArgument(
                f"{number_of(pixels.shape[2], 'frame')} of a clip that begins with {self.context} context frames"
            )
        pair, count = self._pair, self.context
        frames = ((pixels.transpose(1, 2) + 1) / 2).to(pair.device, pair.family.head.weight.dtype)
        given = pair.tokenizer.contexts(frames[:, :count]).unflatten(1, (count, -1))[
            ..., :-1
        ]  # no delimiters
        parts = [given.flatten(1)]
        if frames.shape[1] > count:
            parts.append(pair.tokenizer.ids(frames).flatten(1))
        return torch.cat(parts, 1).unflatten(1, (-1, SIDE, SIDE))

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Tokens of context frames and one new frame at least to pixels ``[b 3 T H W]`` in [0, 1].

        Raises InvalidArgument for fewer tokens.
        """
        flat, first = tokens.flatten(1), self.context * self._codes
        if flat.shape[1] <= first:
            raise InvalidArgument(
                "frames are made where a new one follows the context's: these tokens have none"
            )
        # a 0 stands in for each delimiter
        given = F.pad(flat[:, :first].unflatten(1, (self.context, -1)), (0, 1)).flatten(1)
        made = self._pair.tokenizer.pixels(given, flat[:, first:].unflatten(1, (-1, FRAME)))
        return made.transpose(1, 2)
