"""Configurations: YAML of registry names and numbers, checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup, suggest
from vidjacobi.sampling.probs import SamplingParams

Settings = TypeVar("Settings")

GUARANTEES = {
    "identical": "the very tokens that AR draws from the same seed",
    "lossless": "other tokens, drawn from exactly the distribution of AR decoding",
    "lossy": "not the distribution of AR decoding",
}


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder: a point in the product of the registries, plus numbers.

    Attributes:
        name: of the file.
        guarantee: a key of GUARANTEES; checked against what the parts prove.
        paper: where the method is from.
        summary: one line for ``vidjacobi decoders``.
        method: entry of ``vidjacobi.decoding.methods.METHODS``.
        window: positions per pass when the caller names none.
        draft, coupling, verifier: registry entries ``{"name": ..., option: ...}``; None for AR.
        lanes: registry entry; None for raster, one lane.
        draft_tree: ``{depth: ..., width: ...}`` of ``DraftTree``; None for none.
        temperature: overrides the default temperature of 1 (the caller's choice overrides both).
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
        parts = (self.draft, self.coupling, self.verifier)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InvalidArgument(
                f"decoder {self.name!r} needs draft, coupling and verifier, or none of them"
            )


def load_decoder(name: str, overrides: Mapping[str, Any] | None = None) -> DecoderConfig:
    """The shipped decoder ``name`` or the YAML file at that path, with dotted ``overrides`` laid over it.

    Raises:
        InvalidArgument: unknown name, key or value.
    """
    return decoder_config(Path(name).stem, read_config("decoder", name), overrides or {})


def decoder_config(name: str, text: str, overrides: Mapping[str, Any]) -> DecoderConfig:
    """Parse one decoder's YAML."""
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

    So the configuration that a rollout records holds them, and the same rollout can be made anywhere.
    """
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
    siblings = settings.get("draft_tree")
    if siblings is not None and not isinstance(siblings, dict):
        raise InvalidArgument(
            f"decoder {name!r}: draft_tree: expected {{depth: ..., width: ...}}, got {siblings!r}"
        )
    window, temperature = settings.get("window", 1), settings.get("temperature")
    if isinstance(window, bool) or not isinstance(window, int):
        raise InvalidArgument(f"decoder {name!r}: window must be a whole number, not {window!r}")
    if not isinstance(temperature, int | float | None):
        raise InvalidArgument(f"decoder {name!r}: temperature must be a number, not {temperature!r}")


def with_window(config: DecoderConfig, window: int | None) -> DecoderConfig:
    """The same decoder at another window."""
    return config if window is None else replace(config, window=window)


@dataclass
class RolloutConfig:
    """What ``vidjacobi rollout`` does with each clip; every field is a flag and a ``key=value``.

    ``context`` None means 9, or 1 for an image. ``window`` and ``temperature`` None mean the decoder's own.
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
    """``configs/rollout/NAME.yaml`` (or a path), then flags that were given, then ``key=value`` pairs over it.

    Keys that begin with ``decoder.`` change the decoder's own settings (``decoder.draft.keep=64``).

    Raises:
        InvalidArgument: unknown name, key or value of the wrong type.
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
        merged = OmegaConf.merge(
            OmegaConf.structured(RolloutConfig),
            OmegaConf.create(read_config("rollout", name)),
            OmegaConf.create({k: v for k, v in flags.items() if k in known and v is not None}),
            OmegaConf.from_dotlist(own),
        )
        config = OmegaConf.to_object(merged)
        inner = [pair.removeprefix("decoder.") for pair in pairs if pair.startswith("decoder.")]
        overrides = {key: OmegaConf.select(OmegaConf.from_dotlist(inner), key) for key in map(_key, inner)}
    except OmegaConfBaseException as error:
        where = error.full_key or f"rollout {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, RolloutConfig)
    lookup("context-from", config.context_from, {"first": 0, "last": 0})
    return config, with_window(load_decoder(config.decoder, overrides), config.window)


def load_settings(kind: str, name: str, schema: type[Settings], flags: Mapping[str, Any]) -> Settings:
    """``configs/KIND/NAME.yaml`` (or a path) as a ``schema`` dataclass, with the flags that were given laid over it.

    Raises:
        InvalidArgument: unknown name, key or value of the wrong type.
    """
    known = list(schema.__dataclass_fields__)  # type: ignore[attr-defined]
    given = {key: value for key, value in flags.items() if key in known and value is not None}
    try:
        values = OmegaConf.create(read_config(kind, name))
        for key in values:
            if key not in known:
                raise InvalidArgument(f"{kind} {name!r} has no setting {key!r}{suggest(str(key), known)}")
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values, given))
    except OmegaConfBaseException as error:
        where = error.full_key or f"{kind} {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(settings, schema)
    return settings


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Why a run with the settings ``now`` cannot go on where one with ``before`` stopped."""
    found = []
    for key, value in now.items():
        there = before.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            found += [f"{key}.{text}" for text in differences(value, there)]
        elif there != value:
            found.append(f"{key}: {there} there, {value} here")
    return found


def _key(pair: str) -> str:
    return pair.partition("=")[0]


def config_names(kind: str) -> list[str]:
    """Shipped configurations of one kind (decoder, rollout, bench)."""
    files = (resources.files("vidjacobi.configs") / kind).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_config(kind: str, name: str) -> str:
    """YAML of a shipped configuration, or of the file at a path that ends in .yaml.

    Raises InvalidArgument.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidArgument(f"there is no {kind} file {name}")
        return Path(name).read_text(encoding="utf-8")
    names = config_names(kind)
    if name not in names:
        raise InvalidArgument(f"unknown {kind} {name!r}{suggest(name, names)}. There are: {', '.join(names)}")
    return (resources.files("vidjacobi.configs") / kind / f"{name}.yaml").read_text(encoding="utf-8")
