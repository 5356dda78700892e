"""What a decoder is: ``configs/decoder/*.yaml`` as a record of registry names and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

from vidjacobi.config.settings import lay_over, read_pairs, refuse_two, typed
from vidjacobi.config.yaml_files import read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup, suggest

# The three promises that a decoder can make; docs/decoders.md explains them.
GUARANTEES = {
    "identical": "the very tokens that AR draws from the same seed",
    "lossless": "other tokens, drawn from exactly the distribution of AR decoding",
    "lossy": "not the distribution of AR decoding",
}

AR = "autoregressive"  # the method without parts
INNER = "decoder."  # begins the settings of the decoder itself: decoder.draft.keep=64


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder: one entry of each registry, plus numbers.

    Attributes:
        name: name of the file, without its ending.
        guarantee: a key of GUARANTEES. It is checked against what the parts prove.
        paper: where the method comes from.
        summary: the line that ``vidjacobi decoders`` shows.
        method: entry of ``vidjacobi.decoding.api.METHODS``.
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
        for key, value in of_their_types(
            self.name, vars(self)
        ).items():  # made in Python, it may hold anything
            object.__setattr__(self, key, value)
        for part in ("draft", "coupling", "verifier", "lanes"):
            options = getattr(self, part)
            if options is not None and "name" not in options:
                raise InvalidArgument(
                    f"decoder {self.name!r}: {part}: expected {{name: ...}}, got {options!r}"
                )
        lookup("guarantee", self.guarantee, GUARANTEES)
        # AR is the method without parts; every other method needs the three of them.
        parts = (self.draft, self.coupling, self.verifier)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InvalidArgument(
                f"decoder {self.name!r} needs draft, coupling and verifier, or none of them"
            )
        if self.is_ar and any(part is not None for part in (*parts, self.lanes, self.draft_tree)):
            raise InvalidArgument(
                f"decoder {self.name!r}: the method {AR} decides token after token, without parts"
            )
        if self.is_ar and self.window > 1:
            raise InvalidArgument(f"decoder {self.name!r} decides one token per pass: leave its window out")

    @property
    def is_ar(self) -> bool:
        """Whether it decides one token per pass, so that it has no window."""
        return self.method == AR


@runtime_checkable
class DecodeSettings(Protocol):
    """A record that names a decoder, and what is asked of it."""

    decoder: str
    window: int | None
    temperature: float | None


Asked = TypeVar("Asked", bound=DecodeSettings)


def load_decoder(name: str, overrides: Mapping[str, Any] | None = None) -> DecoderConfig:
    """The shipped decoder ``name``, or the YAML file at that path, with ``overrides`` laid over it.

    Args:
        overrides: values by dotted key, such as ``{"draft.keep": 64}``.

    Raises:
        InvalidArgument: an unknown name, key or value.
    """
    values = read_config("decoder", name)
    return decoder_config(Path(name).stem, values, overrides or {})


def decoder_config(name: str, values: dict[str, Any], overrides: Mapping[str, Any]) -> DecoderConfig:
    """The record of one decoder from the keys and ``values`` of its YAML file. Raises InvalidArgument."""
    known = [key for key in get_type_hints(DecoderConfig) if key != "name"]
    for dotted, value in overrides.items():
        values = lay_over(values, dotted, value)
    for key in values:
        if key not in known:
            raise InvalidArgument(f"decoder {name!r} has no setting {key!r}{suggest(key, known)}")
    values = of_their_types(name, values)
    if values.get("lanes"):
        values["lanes"] = with_curve(values["lanes"])
    lacking = [
        field.name for field in fields(DecoderConfig) if field.default is field.default_factory is MISSING
    ]
    if absent := [key for key in lacking if key not in ("name", *values)]:
        raise InvalidArgument(
            f"decoder {name!r} lacks {', '.join(absent)}; see configs/decoder/pathwise.yaml"
        )
    return DecoderConfig(name=name, **values)


def of_their_types(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the decoder ``name`` with the types of DecoderConfig's fields. Raises InvalidArgument."""
    hints = get_type_hints(DecoderConfig)
    return {key: typed(hints[key], f"decoder {name!r}: {key}", value) for key, value in values.items()}


def decoder_asked_for(
    settings: Asked, flags: Mapping[str, Any], pairs: Sequence[str]
) -> tuple[Asked, DecoderConfig]:
    """The decoder that ``settings`` name, changed by ``decoder.KEY=VALUE`` pairs, at its window.

    Args:
        settings: a configuration with flags and pairs laid over it.
        flags, pairs: all that the command line said.

    Returns:
        The settings, without a window or a temperature of their file that the command line replaced; the decoder.

    Raises:
        InvalidArgument: an unknown decoder or setting; a window or temperature that is given twice, or that the
            decoder does not take.
    """
    own = {pair.partition("=")[0] for pair in pairs}
    said = own | {key for key, value in flags.items() if value is not None}
    inner = read_pairs(pair.removeprefix(INNER) for pair in pairs if pair.startswith(INNER))
    dropped: dict[str, Any] = {}
    for key in ("window", "temperature"):
        value = getattr(settings, key)
        if key in inner and value is not None and value != inner[key]:
            if key in said:
                refuse_two(key, value, inner[key])
            dropped[key] = None  # the file's, and decoder.window=8 is the command line's
    decoder = load_decoder(settings.decoder, inner)
    if decoder.is_ar and "decoder" in said and "window" not in said:
        dropped["window"] = None  # the file's was meant for the file's decoder
    settings = replace(settings, **dropped)  # type: ignore[type-var]
    return settings, with_window(decoder, settings.window)


def with_curve(lanes: dict[str, Any]) -> dict[str, Any]:
    """Lanes that name a curve, with the numbers of ``configs/curve/NAME.yaml`` or of the file at that path.

    The configuration that a rollout records then holds the numbers themselves, so that the same rollout can be
    made on a machine that lacks the file. Other lanes are returned as they are. Raises InvalidArgument.
    """
    # {name: adaptive, curve: nano_cpu} becomes {name: adaptive, curve: nano_cpu, sizes: [16, 32, ...],
    # seconds: [0.016, 0.023, ...], tokens: [4.3, 6.2, ...]}; a recorded configuration has its sizes already.
    if "curve" not in lanes or "sizes" in lanes:
        return lanes
    curve = read_config("curve", str(lanes["curve"]))
    wanted = ("sizes", "seconds", "tokens")
    if any(not isinstance(curve.get(key), list) for key in wanted):
        raise InvalidArgument(f"curve {lanes['curve']!r}: expected lists {', '.join(wanted)}")
    return {**lanes, **{key: curve[key] for key in wanted}}


def with_window(config: DecoderConfig, window: int | None) -> DecoderConfig:
    """The same decoder with another window; None keeps its own. Raises InvalidArgument for AR, which has none."""
    return config if window is None else replace(config, window=window)
