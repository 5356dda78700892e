"""From checkpoint files to tensors, and from tensors to a module, strictly. Code inside a file is never run."""

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidjacobi.errors import BadCheckpoint

StateDict = dict[str, Tensor]
LISTED = 8  # most names in a message


def read_state_dict(path: Path) -> StateDict:
    """Tensors of a ``.safetensors`` or ``torch.save`` file, on the CPU and memory-mapped where possible.

    If the file holds a dict with the key ``"model"``, that entry is taken. Raises BadCheckpoint for a file that is
    missing, empty, truncated or of another kind, and for a pickle that holds anything but tensors, which is not
    executed.
    """
    require_content(path)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return _tensors_only(state, path)


def require_content(path: Path) -> None:
    """Raise BadCheckpoint if ``path`` is no file, or an empty one, or a git-lfs pointer."""
    if not path.is_file():
        raise BadCheckpoint(f"no checkpoint file {path}")
    head = path.open("rb").read(64)
    if not head:
        raise BadCheckpoint(f"{path} is empty (0 bytes): fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise BadCheckpoint(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull`")


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


def _tensors_only(state: object, path: Path) -> StateDict:
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
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
