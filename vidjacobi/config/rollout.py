"""What one rollout does: ``configs/rollout/*.yaml``, flags and ``key=value`` pairs as one record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vidjacobi.config.decoder import DecoderConfig, load_decoder, with_window
from vidjacobi.config.yaml_files import read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup, suggest
from vidjacobi.sampling.probs import SamplingParams


@dataclass
class RolloutConfig:
    """What ``vidjacobi rollout`` does with each clip. Every field is a flag and a ``key=value`` of the command.

    ``context`` is None for 9 frames, or for 1 if the input is an image. ``window`` and ``temperature`` are None
    for the decoder's own.
    """

    model: str = "nano"
    tokenizer: str | None = None
    run_torchscript: bool = False
    context: int | None = None
    context_from: str = "first"
    start: int = 0
    frames: int = 24
    samples: int = 1
    decoder: str = "pathwise"
    window: int | None = None
    seed: int = 0
    temperature: float | None = None
    top_p: float = 0.8
    top_k: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: bool = False
    compile: str = "off"
    memory_check: bool = True

    @property
    def sampling(self) -> SamplingParams:
        """Temperature, top-p, top-k and seed as one record. Raises InvalidArgument for a number out of range."""
        return SamplingParams(self.temperature, self.top_p, self.top_k, self.seed)


def load_rollout(
    name: str, flags: Mapping[str, Any], pairs: Sequence[str]
) -> tuple[RolloutConfig, DecoderConfig]:
    """``configs/rollout/NAME.yaml`` (or a path), with the flags that were given and then ``pairs`` laid over it.

    Args:
        pairs: texts ``key=value``. Keys that begin with ``decoder.`` change the decoder's own settings
            (``decoder.draft.keep=64``).

    Returns:
        The rollout and its decoder, already at the rollout's window.

    Raises:
        InvalidArgument: an unknown name or key, or a value of the wrong type.
    """
    known = [f.name for f in fields(RolloutConfig)]
    own = [pair for pair in pairs if not pair.startswith("decoder.")]
    for pair in own:
        key = _key(pair)
        if key not in known:
            raise InvalidArgument(
                f"unknown setting {key!r}{suggest(key, known)}. There are: {', '.join(known)}"
            )
    try:
        # Later arguments win: defaults, then the file, then the flags, then the pairs.
        merged = OmegaConf.merge(
            OmegaConf.structured(RolloutConfig),
            OmegaConf.create(read_config("rollout", name)),
            OmegaConf.create({k: v for k, v in flags.items() if k in known and v is not None}),
            OmegaConf.from_dotlist(own),
        )
        config = OmegaConf.to_object(merged)
        # "decoder.draft.keep=64" becomes the override {"draft.keep": 64}. OmegaConf parses the text of the value,
        # so that 64 is a number, and the dotted key stays whole: other settings of "draft" keep their values.
        inner = [pair.removeprefix("decoder.") for pair in pairs if pair.startswith("decoder.")]
        overrides = {key: OmegaConf.select(OmegaConf.from_dotlist(inner), key) for key in map(_key, inner)}
    except OmegaConfBaseException as error:
        where = error.full_key or f"rollout {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, RolloutConfig)
    lookup("context-from", config.context_from, {"first": 0, "last": 0})
    return config, with_window(load_decoder(config.decoder, overrides), config.window)


def _key(pair: str) -> str:
    return pair.partition("=")[0]
