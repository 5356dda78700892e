"""Decoder configurations: YAML of registry names and numbers, checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup, suggest

LAWS = {
    "pathwise": "the very tokens that AR draws from the same seed",
    "lossless": "the law of AR decoding, token for token",
    "lossy": "not the law of AR decoding",
}


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder: a point in the product of the registries, plus numbers.

    Attributes:
        name: of the file.
        law: a key of LAWS; checked against what the parts prove.
        paper: where the method is from.
        summary: one line for ``vidjacobi decoders``.
        method: entry of ``vidjacobi.decoders.METHODS``.
        window: positions per pass when the caller names none.
        draft, coupling, verifier: registry entries ``{"name": ..., option: ...}``; None for AR.
        temperature: overrides the default temperature of 1 (the caller's choice overrides both).
    """

    name: str
    law: str
    paper: str
    summary: str
    method: str
    window: int = 1
    draft: dict[str, Any] | None = None
    coupling: dict[str, Any] | None = None
    verifier: dict[str, Any] | None = None
    temperature: float | None = field(default=None)

    def __post_init__(self) -> None:
        lookup("law", self.law, LAWS)
        parts = (self.draft, self.coupling, self.verifier)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InvalidArgument(
                f"decoder {self.name!r} needs draft, coupling and verifier, or none of them"
            )


def decoder_names() -> list[str]:
    """The shipped decoders."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder("decoder").iterdir() if _is_yaml(path))


def load_decoder(name: str, overrides: Mapping[str, Any] | None = None) -> DecoderConfig:
    """The shipped decoder ``name`` or the YAML file at that path, with dotted ``overrides`` laid over it.

    Raises:
        InvalidArgument: unknown name, key or value.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise InvalidArgument(f"there is no decoder file {name}")
        text, stem = path.read_text(), path.stem
    else:
        names = decoder_names()
        if name not in names:
            raise InvalidArgument(
                f"unknown decoder {name!r}{suggest(name, names)}. There are: {', '.join(names)}"
            )
        text, stem = (_folder("decoder") / f"{name}.yaml").read_text(), name
    return decoder_config(stem, text, overrides or {})


def decoder_config(name: str, text: str, overrides: Mapping[str, Any]) -> DecoderConfig:
    """Parse one decoder's YAML."""
    try:
        config = OmegaConf.create(text)
        for dotted, value in overrides.items():
            OmegaConf.update(config, dotted, value)
        values = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, ValueError, AttributeError) as error:
        raise InvalidArgument(f"decoder {name!r}: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgument(f"decoder {name!r}: expected keys and values, got {text[:60]!r}")
    known = [f.name for f in fields(DecoderConfig)]
    settings: dict[str, Any] = {str(key): value for key, value in values.items()}
    for setting in settings:
        if setting not in known or setting == "name":
            raise InvalidArgument(f"decoder {name!r} has no setting {setting!r}{suggest(setting, known)}")
    try:
        return DecoderConfig(name=name, **settings)
    except TypeError as error:
        raise InvalidArgument(f"decoder {name!r}: {error}") from error


def with_window(config: DecoderConfig, window: int | None) -> DecoderConfig:
    """The same decoder at another window."""
    return config if window is None else replace(config, window=window)


def _folder(kind: str) -> Any:
    return resources.files("vidjacobi.configs") / kind


def _is_yaml(path: Any) -> bool:
    return path.name.endswith(".yaml")
