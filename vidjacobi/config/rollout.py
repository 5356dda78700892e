"""What one rollout does: ``configs/rollout/*.yaml``, flags and ``key=value`` pairs as one record."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from vidjacobi.config.decoder import INNER, DecoderConfig, decoder_asked_for
from vidjacobi.config.settings import load_settings
from vidjacobi.registry import lookup
from vidjacobi.sampling.probs import SamplingParams

if TYPE_CHECKING:
    from vidjacobi.config.model_facts import Preset

SAMPLED = ("temperature", "top_p", "top_k")


@dataclass
class RolloutConfig:
    """What ``vidjacobi rollout`` does with each clip. Every field is a flag and a ``key=value`` of the command.

    ``context`` is None for 9 frames, or for 1 if the input is an image. ``window`` and ``temperature`` are None
    for the decoder's own. ``actions`` names a file, for models whose frames follow actions.
    """

    model: str = "nano"
    tokenizer: str | None = None
    actions: str | None = None
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
    reader: str = "pyav"

    @property
    def sampling(self) -> SamplingParams:
        """Temperature, top-p, top-k and seed as one record. Raises InvalidArgument for a number out of range."""
        return SamplingParams(self.temperature, self.top_p, self.top_k, self.seed)


@runtime_checkable
class Sampled(Protocol):
    """A record that names a model and how its tokens are drawn."""

    model: str
    temperature: float | None
    top_p: float
    top_k: int | None


C = TypeVar("C", bound=Sampled)


def load_rollout(
    name: str, flags: Mapping[str, Any], pairs: Sequence[str]
) -> tuple[RolloutConfig, DecoderConfig]:
    """``configs/rollout/NAME.yaml`` (or a path), with the flags and ``pairs`` that were given laid over it.

    Args:
        pairs: texts ``key=value``. Keys that begin with ``decoder.`` change the decoder's own settings
            (``decoder.draft.keep=64``).

    Returns:
        The rollout and its decoder, already at the rollout's window.

    Raises:
        InvalidArgument: an unknown name or key, a value of the wrong type or out of bounds, or words that contradict
            each other.
    """
    own = [pair for pair in pairs if not pair.startswith(INNER)]
    config = load_settings("rollout", name, RolloutConfig, flags, own)
    lookup("context-from", config.context_from, {"first": 0, "last": 0})
    return decoder_asked_for(config, flags, pairs)


def as_authors_sample(config: C, name: str, flags: Mapping[str, Any], pairs: Sequence[str]) -> C:
    """Settings with the temperature, top-p and top-k of a family's authors, where nobody said other ones.

    Of models ``FAMILY:PATH`` under the default settings (``name``); flags and ``pairs`` go first.
    """
    own = _authors_of(config.model)
    if own is None or name != "default":
        return config
    said = {pair.partition("=")[0] for pair in pairs} | {
        key for key, value in flags.items() if value is not None
    }
    made = copy(config)
    for key in SAMPLED:
        if key not in said:
            setattr(made, key, getattr(own, key))
    return made


def unlike_the_authors(model: str, sampling: SamplingParams) -> str | None:
    """What is said where the frames of a model ``FAMILY:PATH`` are sampled otherwise than by its authors."""
    own = _authors_of(model)
    other = [] if own is None else [key for key in SAMPLED if getattr(own, key) != getattr(sampling, key)]
    if not other:
        return None
    numbers = [(key, getattr(own, key)) for key in other]
    theirs = " ".join(f"{key}={'null' if number is None else f'{number:g}'}" for key, number in numbers)
    return f"{model} is sampled otherwise here than by its authors: give {theirs} for theirs"


def _authors_of(model: str) -> "Preset | None":
    """How the authors of a model ``FAMILY:PATH`` sample its frames; None for other models."""
    family, colon, _ = model.partition(":")
    if not colon:
        return None
    from vidjacobi.config.model_facts import load_facts, model_names  # few rollouts are of families

    if family not in model_names("family"):
        return None
    return load_facts(family).presets.get("world")
