"""From a YAML file, flags and ``key=value`` to a record: one way for every command that reads a configuration.

Later ones are laid over earlier ones: the defaults of the record, the file, then what the command line says. The
command line says each setting once.
"""

from collections.abc import Iterable, Mapping, Sequence
from sys import float_info
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vidjacobi.config.yaml_files import abridged, parse_yaml, read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import suggest

Settings = TypeVar("Settings")
_LARGEST = float_info.max

# The least and the most of every number that a command takes, by the name of its setting. The most is far beyond what
# is of use: it stands between a slip of the keyboard and a machine without memory.
# Temperature and top-p are bounded by SamplingParams.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "context": (1, 100_000),
    "frames": (1, 1_000_000),
    "start": (0, 10**9),
    "first": (0, 10**9),
    "stride": (1, 10**6),
    "samples": (1, 10**6),
    "window": (1, 10**6),
    "windows": (1, 10**6),
    "seed": (-(2**63), 2**63 - 1),
    "seeds": (-(2**63), 2**63 - 1),
    "top_k": (1, 2**31 - 1),
    "limit": (1, 10**12),
    "seconds": (0.001, 86_400),
    "rows": (1, 100_000),
    "batch": (1, 100_000),
    "workers": (1, 1024),
    "gpus": (0, 1024),
    "clips": (0, 10**6),
    "count": (1, 10**6),
    "videos": (0, 10**4),
    "draws": (1, 10**6),
    "tokens": (4, 10**6),
}
_WORDS = {bool: "true or false", str: "text (in YAML: in quotes)", list: "a list", dict: "keys and values"}


def load_settings(
    kind: str, name: str, schema: type[Settings], flags: Mapping[str, Any], pairs: Sequence[str] = ()
) -> Settings:
    """``configs/KIND/NAME.yaml`` (or the file at a path) as a ``schema`` record, with flags and pairs laid over it.

    Flags that are None, or that ``schema`` has no field for, are left out. ``pairs`` are texts ``key=value``.

    Raises:
        InvalidArgument: an unknown name or key, a value of the wrong type or out of bounds, or a setting that the
            command line gives two values.
    """
    hints = get_type_hints(schema)
    values = {
        key: typed(_hint(hints, key, f"{kind} {name!r}"), key, value)
        for key, value in read_config(kind, name).items()
    }
    given = {
        key: typed(hints[key], key, value)
        for key, value in flags.items()
        if key in hints and value is not None
    }
    said = read_pairs(pairs, hints)
    for key in said:
        if key in given and said[key] != given[key]:
            refuse_two(key, given[key], said[key])
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values, given, said)
        record = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        where = error.full_key or f"{kind} {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(record, schema)
    return record


def read_pairs(pairs: Iterable[str], hints: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that texts ``key=value`` name.

    Args:
        hints: the type of each setting there is, by which its text is read; None where any key may follow, and a
            text is what it would be in a YAML file.

    Raises:
        InvalidArgument: no ``=``, an unknown key, a text that is no value, or a key with two values.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InvalidArgument(f"{pair!r}: settings are written key=value")
        hint = Any if hints is None else _hint(hints, key, "this command")
        value = typed(hint, key, read_value(key, text, hint))
        if key in found and found[key] != value:
            refuse_two(key, found[key], value)
        found[key] = value
    return found


def refuse_two(key: str, one: object, other: object) -> None:
    """Raise InvalidArgument: the command line gives a setting two values."""
    raise InvalidArgument(
        f"{key} is given twice, as {abridged(one)} and as {abridged(other)}: leave one of them out"
    )


def read_value(key: str, text: str, hint: Any) -> Any:
    """The value that the text after ``key=`` is: a text stays one where the setting is a text, as with a flag."""
    kinds = _kinds(hint)
    if str in kinds and not (text == "null" and NoneType in kinds):
        return text
    if not text:
        raise InvalidArgument(f"{key}= has no value")
    return parse_yaml(text, f"{key}={abridged(text)[1:-1]}")


def typed(hint: Any, key: str, value: Any) -> Any:
    """``value`` if it is what ``hint`` says, a float where one is wanted. Raises InvalidArgument."""
    kinds = _kinds(hint)
    if Any in kinds or (value is None and NoneType in kinds):
        return value
    (kind,) = kinds - {NoneType}
    if kind is int:
        return require_whole(key, value)
    if kind is float:
        return require_number(key, value)
    of = get_origin(kind) or kind
    if not isinstance(value, of):
        raise InvalidArgument(f"{key} must be {_WORDS[of]}, not {abridged(value)}")
    if of is str and "${" in value:  # OmegaConf would fill it in, from the environment too
        raise InvalidArgument(
            f"{key}: nothing is filled in for ${{...}} in {abridged(value)}: write the value"
        )
    if of is list:
        return [typed(get_args(kind)[0], key, item) for item in value]
    return value


def require_whole(name: str, value: object) -> int:
    """``value`` as the setting ``name``. Raises InvalidArgument for no whole number, and for one out of bounds."""
    # Python counts True and False as whole numbers
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be a whole number, not {abridged(value)}")
    require_inside(name, value)
    return value


def require_number(name: str, value: object) -> float:
    """``value`` as the setting ``name``. Raises InvalidArgument for no finite number, and for one out of bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        raise InvalidArgument(f"{name} must be a finite number, not {abridged(value)}")
    require_inside(name, value)
    return float(value)


def require_inside(name: str, value: int | float) -> None:
    """Raise InvalidArgument for a number that is out of the bounds of the setting ``name``, and for NaN."""
    # of "decoder 'mine': window" the last word is the setting
    least, most = BOUNDS.get(name.rpartition(" ")[2], (-_LARGEST, _LARGEST))
    if not value >= least:
        raise InvalidArgument(f"{name} must be at least {least:,}, not {abridged(value)}")
    if value > most:
        raise InvalidArgument(f"{name} must be at most {most:,}, not {abridged(value)}")


def lay_over(values: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """``values`` with ``value`` at a dotted key, ``draft.keep``; a mapping is laid over the one there, key by key.

    Raises InvalidArgument for a key that names no place.
    """
    whole, names = OmegaConf.create(dict(values)), dotted.split(".")
    if not all(names):
        raise InvalidArgument(f"{dotted}: no place for a setting: a key is empty")
    try:
        # of every mapping on the way: OmegaConf replaces a plain value above the last one without a word
        for count in range(1, len(names)):
            there = OmegaConf.select(whole, ".".join(names[:count]))
            if there is not None and not isinstance(there, DictConfig):
                name = names[count - 1]
                raise InvalidArgument(
                    f"{dotted}: {name} is {abridged(there)}, which has no settings of its own"
                )
        OmegaConf.update(whole, dotted, value, merge=isinstance(value, dict), force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError, LookupError) as error:
        raise InvalidArgument(f"{dotted}: no place for a setting: {str(error).splitlines()[0]}") from error
    laid = OmegaConf.to_container(whole, resolve=False)
    assert isinstance(laid, dict)
    return {str(key): entry for key, entry in laid.items()}


def _hint(hints: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in hints:
        raise InvalidArgument(
            f"{what} has no setting {key!r}{suggest(key, hints)}. There are: {', '.join(hints)}"
        )
    return hints[key]


def _kinds(hint: Any) -> set[Any]:
    """The types that a value may have: ``int | None`` are two."""
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Why a run with the settings ``now`` cannot resume one that was started with the settings ``before``.

    One text for each key that differs, dotted where it lies in a nested mapping; empty if none does.
    """
    found = []
    for key, value in now.items():
        there = before.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            found += [f"{key}.{text}" for text in differences(value, there)]
        elif there != value:
            found.append(f"{key}: {there} there, {value} here")
    return found
