"""Checkpoint files to tensors and records, and tensors into a module, strictly. Code inside a file is never run."""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidjacobi.errors import BadCheckpoint, InvalidArgument

StateDict = dict[str, Tensor]
LISTED = 8  # most names in a message


def read_state_dict(path: Path, inside: tuple[str, ...] = ("model",)) -> StateDict:
    """Tensors of a ``.safetensors`` or ``torch.save`` file, on the CPU and memory-mapped where possible.

    If the file holds a dict with one of the keys ``inside``, that entry is taken. Raises BadCheckpoint for a file
    that is missing, empty, truncated or of another kind, and for a pickle that holds anything but tensors, which is
    not executed.
    """
    require_content(path)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return _tensors_only(state, path, inside)


def require_content(path: Path) -> None:
    """Raise BadCheckpoint if ``path`` is no file, or an empty one, or a git-lfs pointer."""
    if not path.is_file():
        raise BadCheckpoint(f"no checkpoint file {path}")
    head = path.open("rb").read(64)
    if not head:
        raise BadCheckpoint(f"{path} is empty (0 bytes): fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise BadCheckpoint(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull`")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises BadCheckpoint if it holds anything else."""
    try:
        content = json.loads(path.read_bytes())  # bytes, so that byte order marks are understood
    except RecursionError:
        raise BadCheckpoint(f"{path} is nested too deep to be read") from None
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path} holds a {type(content).__name__}, not an object")
    return content


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadCheckpoint(
            f"{path} is truncated or not a safetensors file ({error}): fetch it again"
        ) from None


def _read_pickle(path: Path) -> object:
    # torch.save has written zip files since PyTorch 1.6; older files are bare pickles and cannot be memory-mapped.
    # A zip file without its end, where the list of contents is, still begins with PK.
    is_zip = zipfile.is_zipfile(path)
    if not is_zip and path.open("rb").read(2) == b"PK":
        raise BadCheckpoint(f"{path} is truncated (a torch.save file without its end): fetch it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise BadCheckpoint(
            f"{path} was refused: it is damaged or holds something other than tensors, "
            f"and code inside checkpoints is never run ({reason}). "
            "If you trust it, load it elsewhere and save its tensors as safetensors"
        ) from None
    except Exception as error:
        # Damaged bytes make the unpickler raise nearly anything: struct.error, IndexError, RuntimeError ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadCheckpoint(
            f"{path} is truncated or not a torch.save file ({reason}): fetch it again"
        ) from None


def _tensors_only(state: object, path: Path, inside: tuple[str, ...]) -> StateDict:
    if isinstance(state, Mapping):
        state = next((state[key] for key in inside if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping):
        raise BadCheckpoint(f"{path} holds a {type(state).__name__}, not a dict of tensors")
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    # Transformer Engine leaves "..._extra_state" entries of other types in the released checkpoints.
    others = [str(k) for k, v in state.items() if not isinstance(v, Tensor) and "_extra_state" not in str(k)]
    if others or not tensors:
        raise BadCheckpoint(f"{path} is not a state dict: {_names(others) or 'it holds no tensors'}")
    return tensors


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks that are built here have shapes and dtypes, but no numbers: they are on the meta device.

    The functions of ``torch.nn.init`` do nothing. They would have nothing to fill, and torch's own way to fill
    nothing with normal noise imports its compiler first: more than a second, and 160 MB.
    """
    with torch.device("meta"), _NoInit():
        yield


class _NoInit(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Make the tensors of ``state`` the parameters of the module, as they are: same dtype, device and memory map.

    The module may be on the meta device. Raises BadCheckpoint, which lists missing and unexpected names and wrong
    shapes, and leaves the module unchanged. ``where`` names the source in the message.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    problems = [
        _problem("missing", [name for name in wanted if name not in state]),
        _problem("unexpected", [name for name in state if name not in wanted]),
        _problem("wrong shape", _misshapen(wanted, state)),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise BadCheckpoint(f"{where} does not fit the network: " + "; ".join(found))
    module.load_state_dict(dict(state), strict=True, assign=True)


def _misshapen(wanted: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> list[str]:
    both = [name for name in wanted if name in state and state[name].shape != wanted[name]]
    return [f"{name} {list(state[name].shape)}, expected {list(wanted[name])}" for name in both]


def _problem(kind: str, names: list[str]) -> str:
    return f"{kind} ({len(names)}): {_names(names)}" if names else ""


def _names(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f", and {more} more" if more > 0 else "")


def field_values(record: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values in ``config`` for the fields of the dataclass ``record``; other keys are left out.

    Lists become tuples, and whole numbers become floats where the field is a float. Raises InvalidArgument for a
    value that is not of its field's type.
    """
    return {
        field.name: _value(field.name, field.type, config[field.name])
        for field in fields(record)
        if field.name in config
    }


def _value(name: str, hint: Any, value: Any) -> Any:
    # ``type(value) in kinds`` instead of isinstance: True is an int to isinstance, and no number of layers.
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if type(value) in kinds or (value is None and type(None) in kinds):
        return value
    if type(value) is int and float in kinds:
        return float(value)
    if isinstance(value, list | tuple) and any(_holds(kind, value) for kind in kinds):
        return tuple(value)
    raise InvalidArgument(f"{name}={value!r} is not possible")


def _holds(kind: Any, values: "list[Any] | tuple[Any, ...]") -> bool:
    """Whether ``kind`` is the type of a tuple with the types of ``values``."""
    if get_origin(kind) is not tuple:
        return False
    wanted = get_args(kind)  # (int, int, int) of tuple[int, int, int], (int, ...) of tuple[int, ...]
    if wanted[-1] is ...:
        wanted = wanted[:1] * len(values)
    return [type(value) for value in values] == list(wanted)
