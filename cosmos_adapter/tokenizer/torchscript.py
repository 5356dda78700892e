"""The tensors of a TorchScript archive, read without running a line of what is in it.

``torch.jit.load`` compiles the program in the archive and may execute parts of it. The weights are in a pickle and in
raw files, all inside one zip file. This reader knows only the few names that such a pickle needs and refuses others.
"""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_adapter.checkpoint import require_content
from vidjacobi.errors import BadCheckpoint

STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _ScriptObject:
    """Takes the place of any object of the archive's own classes. It keeps the attributes and does nothing."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a ``torch.jit.save`` file under their dotted names, on the CPU.

    Raises BadCheckpoint for a file that is missing, cut short, or of another kind.
    """
    require_content(path)
    try:
        with zipfile.ZipFile(path) as archive:
            root = _named_tensors(_ArchiveUnpickler(archive).load(), "")
    except (pickle.UnpicklingError, zipfile.BadZipFile, KeyError, EOFError, ValueError, IndexError) as error:
        raise BadCheckpoint(
            f"{path} is truncated or not a TorchScript file ({error or type(error).__name__}): fetch it again"
        ) from None
    return root


def _named_tensors(node: object, prefix: str) -> dict[str, Tensor]:
    if not isinstance(node, _ScriptObject):
        raise ValueError(f"it holds a {type(node).__name__}, not a module")
    found: dict[str, Tensor] = {}
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif isinstance(value, _ScriptObject):
            found.update(_named_tensors(value, f"{prefix}{name}."))
    return found


# A pickle is a program that calls what it names. Here it can name three things only: the archive's own classes,
# which become inert objects; the storage types, which become dtypes; and the functions of KNOWN_CALLS. Tensors'
# bytes are not in the pickle: it refers to them by a "persistent id" such as ("storage", dtype, "17", "cpu", 4096),
# which is the file data/17 of the zip.
class _ArchiveUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if not pickles:
            raise ValueError("no data.pkl inside")
        super().__init__(io.BytesIO(archive.read(pickles[0])))
        self._archive = archive
        self._folder = pickles[0].removesuffix("data.pkl") + "data/"
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "__torch__":
            return _ScriptObject
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        known = KNOWN_CALLS.get(f"{module}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it refers to a {kind!r}, not to a tensor's storage")
        if key not in self._storages:
            raw = bytearray(self._archive.read(self._folder + key))
            self._storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    # as_strided does not look at the end of the storage, so a pickle could read memory that is not its own: the last
    # element of a [2 3] tensor with strides (3, 1) lies 1 * 3 + 2 * 1 = 5 after the first one.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel():
        raise pickle.UnpicklingError("a tensor reaches beyond its data")
    return storage.as_strided(size, stride, offset)


def _first(value: object, *_: object) -> object:
    return value  # lists with a declared type of elements: the list itself comes first


KNOWN_CALLS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "collections.OrderedDict": dict,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
}
