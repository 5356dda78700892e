"""Each broken promise of a video tokenizer is named by ``check_tokenizer``."""

from typing import Any

import own_model
import pytest
import torch
from own_model import BlockTokenizer
from torch import Tensor

import vidjacobi
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.runtime import choose
from vidjacobi.testing import check_tokenizer

pytestmark = pytest.mark.unchecked  # the hook that checks shapes would find some of the mistakes first


class Good(BlockTokenizer):
    """It can stream too."""

    def frame_stream(self) -> "Stream":
        return Stream(self)


class Stream:
    def __init__(self, tokenizer: Good, past: int = 0) -> None:
        self.tokenizer, self.past = tokenizer, past

    def add(self, tokens: Tensor) -> Tensor:
        self.past += tokens.shape[1]
        return self.tokenizer.to_frames(tokens)

    def fork(self) -> "Stream":
        return Stream(self.tokenizer, self.past)


class Encodes(Good):
    """Whose tokens are changed by ``change``."""

    def encode(self, pixels: Tensor) -> Any:
        return self.change(super().encode(pixels))

    def change(self, tokens: Tensor) -> Any:
        return tokens


class OneLatentLess(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens[:, 1:]


class Flat(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens.flatten(1)


class WithCodes(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens, tokens.float()


class Floats(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens.float()


class CountsFromOne(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens + 1


class Negative(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens - own_model.VOCAB


class Transposed(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens.transpose(2, 3)


class Draws(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return torch.randint_like(tokens, own_model.VOCAB)


class Anticausal(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return (tokens + tokens.flip(1)) // 2


class MixesClips(Encodes):
    def change(self, tokens: Tensor) -> Any:
        return tokens.flip(0)


class Shows(Good):
    """Whose pixels are changed by ``alter``."""

    def to_frames(self, tokens: Tensor) -> Any:
        return self.alter(super().to_frames(tokens))

    def alter(self, pixels: Tensor) -> Any:
        return pixels


class SignedRange(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return pixels * 2 - 1


class Bytes(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return (pixels * 255).byte()


class FrameTooMany(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return torch.cat([pixels, pixels[:, :, -1:]], 2)


class ChannelsLast(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return pixels.movedim(1, -1)


class Flickers(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return torch.rand(pixels.shape)


class LooksAhead(Shows):
    def alter(self, pixels: Tensor) -> Any:
        return (pixels + pixels.flip(2)) / 2


class SharesForks(Good):
    """A fork that goes on writing in the past of the other."""

    def frame_stream(self) -> Any:
        class Shared(Stream):
            def fork(self) -> "Stream":
                return self

            def add(self, tokens: Tensor) -> Tensor:
                pixels = super().add(tokens)
                return pixels if self.past == 1 else pixels * 0

        return Shared(self)


MISTAKES: dict[type[Good], str] = {
    OneLatentLess: "encode must turn 1 frames into tokens [clips, 1, h, w], and returned torch.int64 [2, 0, 2, 3]",
    Flat: "and returned torch.int64 [2, 6]",
    WithCodes: "and returned tuple",
    Floats: "encode must return integer token ids, not torch.float32",
    CountsFromOne: f"encode returned the token {own_model.VOCAB}, and the model has {own_model.VOCAB} tokens",
    Negative: "ids begin with 0",
    Transposed: "encode makes a grid [1, 3, 2] of 1 frames, the model wants Grid(t=1, h=2, w=3)",
    Draws: "encode gives other tokens when it is called again",
    Anticausal: "encode is not causal",
    MixesClips: "encode gives a clip other tokens beside another clip than alone",
    SignedRange: "to_frames must return pixels in [0, 1], and returned -",
    Bytes: "to_frames must return floating-point pixels [2, 3, 1, 16, 24], and returned torch.uint8",
    FrameTooMany: "and returned torch.float32 [2, 3, 2, 16, 24]",
    ChannelsLast: "and returned torch.float32 [2, 1, 16, 24, 3]",
    Flickers: "to_frames gives other pixels when it is called again",
    LooksAhead: "to_frames is not causal",
    SharesForks: "does a fork leave it alone?",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named(mistake: type[Good]) -> None:
    model, _ = own_model.load(choose("cpu", "float32"))
    with pytest.raises(BadModelOutput) as caught:
        check_tokenizer(mistake(), model)
    assert MISTAKES[mistake] in str(caught.value)


@pytest.mark.parametrize("tokenizer", [Good(), BlockTokenizer()])
def test_good_tokenizers_pass(tokenizer: Any) -> None:
    check_tokenizer(tokenizer)
    check_tokenizer(tokenizer, own_model.load(choose("cpu", "float32"))[0])


def test_the_adapter_passes(tiny_pair: Any) -> None:
    model, tokenizer = vidjacobi.load(tiny_pair, "cpu", "float32")
    check_tokenizer(tokenizer, model)


def test_members() -> None:
    with pytest.raises(InvalidArgument, match=r"the tokenizer \(int\) lacks encode, frame_size"):
        check_tokenizer(5)  # type: ignore[arg-type]
    tokenizer = Good()
    tokenizer.stride_t = 2.5  # type: ignore[assignment]
    with pytest.raises(InvalidArgument, match=r"stride_t, max_frames must be a whole number, not 2\.5"):
        check_tokenizer(tokenizer)
