"""What results depend on beside the settings: the bytes of the weights, the dtype really used, versions of packages.

A run records them, and one that resumes compares them: a name such as ``my_model/`` may hold other weights today, and
``dtype: auto`` another dtype on another machine.
"""

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from vidjacobi.errors import BadCheckpoint
from vidjacobi.loading import folder_of, is_shipped, locate, own_model
from vidjacobi.runtime import versions

# files that a load may read, in a checkpoint's folder and in these of its folders
_SUFFIXES = (".safetensors", ".pt", ".bin", ".jit", ".json")
# and of other authors' releases: text tokenizers, chat templates
_RELEASED = (*_SUFFIXES, ".pth", ".ckpt", ".model", ".jinja", ".txt", ".npz")
_FOLDERS = (".", "transformer", "tokenizer")
# packages that compute results, or read the frames that they are made of
_VERSIONS = ("vidjacobi", "torch", "av", "decord")
OTHER_VERSIONS = "--other-versions mixes the results of both"


def provenance(model: str, tokenizer: str | None, dtype: torch.dtype, before: Any = None) -> dict[str, Any]:
    """What to record, as plain values: ``dtype``, ``versions``, and ``weights``.

    ``weights`` has, by file name, the sha256 of the whole content, the size in bytes and the time of the last change
    in ns. A file of the size and time that ``before`` (an earlier record) has for it is not read again.

    Raises InvalidArgument for an unknown model, BadCheckpoint for files that cannot be read.
    """
    return made_with(weights_files(model, tokenizer), dtype, before)


def made_with(files: Mapping[str, Path], dtype: torch.dtype, before: Any = None) -> dict[str, Any]:
    """``provenance`` of results that were made with these files, by name. Raises BadCheckpoint."""
    known = before.get("weights") if isinstance(before, Mapping) else None
    weights = _hashes(files, known if isinstance(known, Mapping) else {})
    there = versions()
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "weights": weights,
        "versions": {name: there[name] for name in _VERSIONS},
    }


def weights_files(model: str, tokenizer: str | None = None) -> dict[str, Path]:
    """The files that a model and its video tokenizer are loaded from, by name. Repositories are fetched.

    Of a model of the user's own they are its code and what it names; see ``vidjacobi.models.own.OwnModel.files``.
    """
    if is_shipped(model):
        with resources.as_file(resources.files("vidjacobi") / "assets" / model) as folder:
            return _files_in(folder)
    if own := own_model(model):
        return own.files() | (_tokenizer_files(folder_of(tokenizer, "tokenizer")) if tokenizer else {})
    weights, codec = locate(model, tokenizer)
    found = _files_in(
        weights if weights.is_dir() else weights.parent, None if weights.is_dir() else weights.name
    )
    if not codec.is_relative_to(weights):
        found |= _tokenizer_files(codec)
    return found


def files_at(path: Path, name: str = "") -> dict[str, Path]:
    """The files of a release of other authors at ``path``, a file or a folder; ``name`` stands before theirs."""
    folder, only = (path, None) if path.is_dir() else (path.parent, path.name)
    return {f"{name}{own}": file for own, file in _files_in(folder, only, _RELEASED).items()}


def _tokenizer_files(folder: Path) -> dict[str, Path]:
    return {f"tokenizer: {name}": path for name, path in _files_in(folder).items()}


def changes(now: Mapping[str, Any], before: Any, other_versions: bool = False) -> list[str]:
    """Why results of ``now`` do not go beside those of the record ``before``; empty if they do.

    With ``other_versions`` the versions of packages may differ.
    """
    if not isinstance(before, Mapping) or not isinstance(before.get("weights"), Mapping):
        return ["it does not say with which weights it was made"]
    found = []
    if now["dtype"] != before.get("dtype"):
        found.append(f"dtype: {before.get('dtype')} there, {now['dtype']} here")
    names = [*now["weights"], *(name for name in before["weights"] if name not in now["weights"])]
    if other := [name for name in names if _sha256(now, name) != _sha256(before, name)]:
        found.append(f"other weights: {', '.join(other[:3])}{' ...' if len(other) > 3 else ''}")
    if not other_versions:
        there = before.get("versions")
        there = there if isinstance(there, Mapping) else {}
        for name, version in now["versions"].items():
            if there.get(name) != version:
                found.append(f"{name} {there.get(name)} there, {version} here: {OTHER_VERSIONS}")
    return found


def file_sha256(path: Path) -> str:
    """The sha256 of a file, which may be larger than the memory. Raises OSError."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            total.update(piece)
    return total.hexdigest()


def fingerprint(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record must be the same for results of one run: the dtype, and the weights' sha256 by name."""
    return {"dtype": record["dtype"], "weights": {name: _sha256(record, name) for name in record["weights"]}}


def _sha256(record: Mapping[str, Any], name: str) -> Any:
    file = record["weights"].get(name)
    return file.get("sha256") if isinstance(file, Mapping) else None


def _files_in(
    folder: Path, only: str | None = None, suffixes: tuple[str, ...] = _SUFFIXES
) -> dict[str, Path]:
    """Files of a checkpoint; with ``only`` that one and the JSON files beside it."""
    paths = [path for part in _FOLDERS for path in sorted((folder / part).glob("*")) if path.is_file()]
    wanted = [path for path in paths if path.suffix in suffixes]
    if only is not None:
        wanted = [path for path in wanted if path.name == only or path.suffix == ".json"]
    return {path.relative_to(folder).as_posix(): path for path in wanted}


def _hashes(files: Mapping[str, Path], known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, path in files.items():
        try:
            status = path.stat()
            state = {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}
            old = known.get(name)
            old = old if isinstance(old, Mapping) else {}
            same = all(old.get(key) == value for key, value in state.items()) and _is_sha256(
                old.get("sha256")
            )
            digest = old["sha256"] if same else file_sha256(path)
        except OSError as error:
            raise BadCheckpoint(f"{path}: cannot be read: {error.strerror or error}") from error
        found[name] = {"sha256": digest, **state}
    return found


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
