"""What ``vidjacobi image`` does: ``configs/image/*.yaml``, flags and ``key=value`` pairs as one record."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vidjacobi.config.decoder import INNER, DecoderConfig, decoder_asked_for
from vidjacobi.config.model_facts import Preset
from vidjacobi.config.settings import load_settings
from vidjacobi.errors import InvalidArgument

if TYPE_CHECKING:
    from vidjacobi.sampling.probs import SamplingParams


@dataclass
class ImageConfig:
    """Settings of pictures. Every field is a flag and a ``key=value`` of the command.

    ``guidance``, ``temperature``, ``top_p`` and ``top_k`` are None for those of the model's authors, ``window`` for
    the decoder's own, ``size`` and ``negative`` for the model's. ``devices`` and ``workers`` are None for one process
    on ``device``.
    """

    model: str = "nano-image"
    tokenizer: str | None = None
    text_encoder: str | None = None
    features: str | None = None
    size: str | None = None
    negative: str | None = None
    samples: int = 1
    guidance: float | None = None
    decoder: str = "pathwise"
    window: int | None = None
    seed: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    device: str = "auto"
    devices: str | None = None
    workers: int | None = None
    dtype: str = "auto"
    rows: int = 4
    shard: str = "0/1"
    other_versions: bool = False

    @property
    def pixels(self) -> tuple[int, int] | None:
        """(height, width) of ``size``, which is written WIDTHxHEIGHT. Raises InvalidArgument."""
        if self.size is None:
            return None
        found = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", self.size)
        if not found:
            raise InvalidArgument(
                f"size is written WIDTHxHEIGHT in pixels, such as 512x768, not {self.size!r}"
            )
        return int(found[2]), int(found[1])

    def sampling(self, preset: Preset) -> "SamplingParams":
        """As the authors sample, but for the numbers that were given. Raises InvalidArgument."""
        given = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k")}
        said = {name: value for name, value in given.items() if value is not None}
        return replace(preset.sampling, seed=self.seed, **said)

    def scale(self, preset: Preset) -> float:
        """Of the guidance, 1 for none. Raises InvalidArgument where there is nothing to guide against."""
        if self.guidance is None:
            return 1.0 if preset.guidance is None else preset.guidance
        if preset.guidance is None and self.guidance != 1:
            raise InvalidArgument(
                f"{self.model} has no branch to guide against: leave --guidance {self.guidance:g} out"
            )
        return self.guidance


def load_image(
    name: str, flags: Mapping[str, Any], pairs: Sequence[str]
) -> tuple[ImageConfig, DecoderConfig]:
    """``configs/image/NAME.yaml`` (or a path), with the flags and ``pairs`` that were given laid over it.

    Raises InvalidArgument, as ``vidjacobi.config.rollout.load_rollout``.
    """
    own = [pair for pair in pairs if not pair.startswith(INNER)]
    config = load_settings("image", name, ImageConfig, flags, own)
    _ = config.pixels
    return decoder_asked_for(config, flags, pairs)
