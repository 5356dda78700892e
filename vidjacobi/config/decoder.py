"""What a decoder is: ``configs/decoder/*.yaml`` as a record of registry names and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from vidjacobi.config.yaml_files import read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup, suggest

# The three promises that a decoder can make; docs/decoders.md explains them.
GUARANTEES = {
    "identical": "the very tokens that AR draws from the same seed",
    "lossless": "other tokens, drawn from exactly the distribution of AR decoding",
    "lossy": "not the distribution of AR decoding",
}


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder: one entry of each registry, plus numbers.

    Attributes:
        name: name of the file, without its ending.
        guarantee: a key of GUARANTEES. It is checked against what the parts prove.
        paper: where the method comes from.
        summary: the line that ``vidjacobi decoders`` shows.
        method: entry of ``vidjacobi.decoding.methods.METHODS``.
        window: positions per pass where the caller names none.
        draft, coupling, verifier: registry entries ``{"name": ..., option: ...}``; None for AR.
        lanes: registry entry; None for one lane in raster order.
        draft_tree: ``{depth: ..., width: ...}`` of ``DraftTree``; None for a decoder without siblings.
        temperature: replaces the default temperature of 1. The caller's temperature replaces both.
    """

    name: str
    guarantee: str
    paper: str
    summary: str
    method: str
    window: int = 1
    draft: dict[str, Any] | None = None
    coupling: dict[str, Any] | None = None
    verifier: dict[str, Any] | None = None
    lanes: dict[str, Any] | None = None
    draft_tree: dict[str, Any] | None = None
    temperature: float | None = field(default=None)

    def __post_init__(self) -> None:
        lookup("guarantee", self.guarantee, GUARANTEES)
        # AR is the method without parts; every other method needs the three of them.
        parts = (self.draft, self.coupling, self.verifier)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InvalidArgument(
                f"decoder {self.name!r} needs draft, coupling and verifier, or none of them"
            )


def load_decoder(name: str, overrides: Mapping[str, Any] | None = None) -> DecoderConfig:
    """The shipped decoder ``name``, or the YAML file at that path, with ``overrides`` laid over it.

    Args:
        overrides: values by dotted key, such as ``{"draft.keep": 64}``.

    Raises:
        InvalidArgument: an unknown name, key or value.
    """
    return decoder_config(Path(name).stem, read_config("decoder", name), overrides or {})


def decoder_config(name: str, text: str, overrides: Mapping[str, Any]) -> DecoderConfig:
    """The record of one decoder from the ``text`` of its YAML file. Raises InvalidArgument."""
    try:
        config = OmegaConf.create(text)
        for dotted, value in overrides.items():
            OmegaConf.update(config, dotted, value)
        values = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError, AttributeError) as error:
        raise InvalidArgument(f"decoder {name!r}: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgument(f"decoder {name!r}: expected keys and values, got {text[:60]!r}")
    known = [f.name for f in fields(DecoderConfig) if f.name != "name"]
    settings: dict[str, Any] = {str(key): value for key, value in values.items()}
    for setting in settings:
        if setting not in known:
            raise InvalidArgument(f"decoder {name!r} has no setting {setting!r}{suggest(setting, known)}")
    _check_types(name, settings)
    if settings.get("lanes"):
        settings["lanes"] = with_curve(settings["lanes"])
    try:
        return DecoderConfig(name=name, **settings)
    except TypeError as error:
        raise InvalidArgument(f"decoder {name!r}: {error}") from error


def with_curve(lanes: dict[str, Any]) -> dict[str, Any]:
    """Lanes that name a curve, with the numbers of ``configs/curve/NAME.yaml`` or of the file at that path.

    The configuration that a rollout records then holds the numbers themselves, so that the same rollout can be
    made on a machine that lacks the file. Other lanes are returned as they are. Raises InvalidArgument.
    """
    # {name: adaptive, curve: nano_cpu} becomes {name: adaptive, curve: nano_cpu, sizes: [16, 32, ...],
    # seconds: [0.016, 0.023, ...], tokens: [4.3, 6.2, ...]}; a recorded configuration has its sizes already.
    if "curve" not in lanes or "sizes" in lanes:
        return lanes
    text = read_config("curve", str(lanes["curve"]))
    try:
        curve = OmegaConf.to_container(OmegaConf.create(text))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise InvalidArgument(f"curve {lanes['curve']!r}: {error}") from error
    wanted = ("sizes", "seconds", "tokens")
    if not isinstance(curve, dict) or any(not isinstance(curve.get(key), list) for key in wanted):
        raise InvalidArgument(f"curve {lanes['curve']!r}: expected lists {', '.join(wanted)}")
    return {**lanes, **{key: curve[key] for key in wanted}}


def _check_types(name: str, settings: Mapping[str, Any]) -> None:
    for part in ("draft", "coupling", "verifier", "lanes"):
        value = settings.get(part)
        if value is not None and not (isinstance(value, dict) and "name" in value):
            raise InvalidArgument(f"decoder {name!r}: {part}: expected {{name: ...}}, got {value!r}")
    tree = settings.get("draft_tree")
    if tree is not None and not isinstance(tree, dict):
        raise InvalidArgument(
            f"decoder {name!r}: draft_tree: expected {{depth: ..., width: ...}}, got {tree!r}"
        )
    window, temperature = settings.get("window", 1), settings.get("temperature")
    # Python counts True and False as integers, and YAML reads "yes" and "on" as True.
    if isinstance(window, bool) or not isinstance(window, int):
        raise InvalidArgument(f"decoder {name!r}: window must be a whole number, not {window!r}")
    if not isinstance(temperature, int | float | None):
        raise InvalidArgument(f"decoder {name!r}: temperature must be a number, not {temperature!r}")


def with_window(config: DecoderConfig, window: int | None) -> DecoderConfig:
    """The same decoder with another window; None keeps its own."""
    return config if window is None else replace(config, window=window)
