"""From a name, a folder or a repository to a model and its video tokenizer, or to the outline of both."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.kinds import of_kind
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.registry import suggest
from vidjacobi.runtime import Runtime, choose

if TYPE_CHECKING:
    from vidjacobi.families.opening import FamilyName
    from vidjacobi.models.own import OwnModel

Pair = tuple[VideoModel, VideoTokenizer]

# Bundled models: name -> "module:function", which takes a Runtime. The module is imported only when the model is
# asked for. A model of your own needs no line here: see models/own.py.
MODELS = {"nano": "cosmos_adapter.pair:load_nano", "micro": "cosmos_adapter.pair:load_micro"}
# Reads any other name, which is a folder or a repository of checkpoints; and the same without a tokenizer.
CHECKPOINTS = "cosmos_adapter.pair:load_pair"
TRANSFORMERS = "cosmos_adapter.pair:load_transformer"
TOKENIZER_FILES = "cosmos_adapter.tokenizer.weights:load_tokenizer"
_TWO_TOKENIZERS = "{} brings a video tokenizer of its own: leave --tokenizer out"
OUTLINES = {  # name -> "module:function", called with the name and a dtype
    **dict.fromkeys(("4b", "5b", "12b", "13b"), "cosmos_adapter.pair:released"),
    **dict.fromkeys(("nano", "micro"), "cosmos_adapter.pair:shipped"),
}
PUBLISHED_OUTLINES = "cosmos_adapter.pair:published"  # of a released repository, or None
FOLDER_OUTLINES = "cosmos_adapter.pair:folder"  # of the checkpoint in a folder
PAIR_OUTLINES = "cosmos_adapter.pair:in_folder"  # of a checkpoint and a tokenizer, wherever they lie
# of a model that does not bring one, measured on the loaded model
MEASURED_OUTLINES = "vidjacobi.estimate.measured_outline:outline_of"
# model and tokenizer of a family named NAME:PATH, whose frames follow frames
FAMILY_PAIRS = "vidjacobi.families.pairs:open_pair"
FAMILY_NAME = "vidjacobi.families.opening:family_name"
FAMILY_MODELS = "vidjacobi.families.pairs:open_model"
# Takes a loaded pair and returns the two modules that hold its weights; used to offload them.
MODULES = "cosmos_adapter.pair:modules_of"
TOKENIZERS = {  # of repositories that do not hold one
    "nvidia/Cosmos-1.0-Autoregressive-4B": "nvidia/Cosmos-1.0-Tokenizer-DV8x16x16",
    "nvidia/Cosmos-1.0-Autoregressive-12B": "nvidia/Cosmos-1.0-Tokenizer-DV8x16x16",
    "nvidia/Cosmos-Predict1-4B": "nvidia/Cosmos-Tokenize1-DV8x16x16-720p",
    "nvidia/Cosmos-Predict1-12B": "nvidia/Cosmos-Tokenize1-DV8x16x16-720p",
}


def load(
    name_or_path: str | Path = "nano",
    device: str = "auto",
    dtype: str = "auto",
    tokenizer: str | Path | None = None,
    run_torchscript: bool = False,
    offload: bool = False,
    compile: str = "off",
) -> Pair:
    """The model and the video tokenizer of a name, ready to decode.

    Args:
        name_or_path: ``nano`` or ``micro``; a folder of an official checkpoint (``model.pt`` or safetensors,
            optional ``config.json``); a model of your own, ``package.module:load`` or the name of an installed
            package's entry point (``vidjacobi.models.own``); a world of another author, ``mineworld:PATH``; or a
            Hugging Face repository id, which is fetched into the cache of the hub because you named it.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        dtype: ``bfloat16``, ``float32``, ``float64`` or ``auto``.
        tokenizer: folder or repository of the video tokenizer, where it is not beside the model.
        run_torchscript: run the tokenizer's ``.jit`` files as they are instead of taking their weights. They
            are programs, so use this only for files that you trust.
        offload: keep both weights in the host's memory and let model and tokenizer take turns on the device.
            The results are the same. See ``vidjacobi.models.offload``.
        compile: how the model's passes are made; a key of ``vidjacobi.decoding.compiled.MODES``.

    Raises:
        InvalidArgument: an unknown name, device, dtype or mode, or a pair that cannot be offloaded or compiled.
        BadCheckpoint: files that are missing, damaged or do not fit together.
    """
    name = str(of_kind("the model", name_or_path, (str, Path), "a name or a path"))
    runtime = choose(device, dtype)
    of_kind("the tokenizer", tokenizer, (str, Path, type(None)), "a folder or a repository")
    _check_compile(compile, runtime, offload)
    if not offload:
        model, codec = _loaded(name, runtime, tokenizer, run_torchscript)
        return _compiled(model, compile), codec
    from vidjacobi.models.offload import check_device, offload_pair, refuse_family

    if family_of(name):
        refuse_family(name)
    check_device(runtime.device)
    # The pair is loaded on the host whatever the device is; offload_pair then copies weights over turn by turn.
    host = replace(runtime, device=torch.device("cpu"))
    pair, own = _loaded(name, host, tokenizer, run_torchscript), own_model(name)
    return offload_pair(*pair, (own.modules if own else resolve(MODULES))(*pair), runtime.device)


def load_model(
    name_or_path: str | Path = "nano", device: str = "auto", dtype: str = "auto", compile: str = "off"
) -> VideoModel:
    """The model of a name alone, for ``vidjacobi.decode``, which needs no video tokenizer.

    Arguments and errors are those of ``vidjacobi.load``. No tokenizer is looked for, fetched or kept.
    """
    name = str(of_kind("the model", name_or_path, (str, Path), "a name or a path"))
    runtime = choose(device, dtype)
    _check_compile(compile, runtime)
    if is_shipped(name):
        model = resolve(MODELS[name])(runtime)[0]
    elif family_of(name):
        model = resolve(FAMILY_MODELS)(name, runtime)
    elif own := own_model(name):
        model = own.pair(runtime)[0]
    else:
        model = resolve(TRANSFORMERS)(folder_of(name, "model"), runtime)
    return _compiled(model, compile)


def _check_compile(mode: str, runtime: Runtime, offload: bool = False) -> None:
    if mode != "off":
        from vidjacobi.decoding.compiled import check_mode

        check_mode(mode, runtime.device, offload)


def _compiled(model: VideoModel, mode: str) -> VideoModel:
    if mode == "off":
        return model
    from vidjacobi.decoding.compiled import compiled

    return compiled(model, mode)


def _loaded(name: str, runtime: Runtime, tokenizer: str | Path | None, run_torchscript: bool) -> Pair:
    if is_shipped(name):
        if tokenizer is not None:
            raise InvalidArgument(_TWO_TOKENIZERS.format(name))
        return resolve(MODELS[name])(runtime)
    if family_of(name):
        return resolve(FAMILY_PAIRS)(name, runtime, tokenizer)
    if own := own_model(name):
        return _own_pair(own, runtime, tokenizer, run_torchscript)
    return resolve(CHECKPOINTS)(*locate(name, tokenizer), runtime, run_torchscript)


def _own_pair(
    own: "OwnModel", runtime: Runtime, tokenizer: str | Path | None, run_torchscript: bool = False
) -> Pair:
    """Its own tokenizer, or the one that is named where it brings none."""
    model, codec = own.pair(runtime)
    if codec is None and tokenizer is None:
        raise InvalidArgument(
            f"{own.name} brings no video tokenizer, and frames need one: return it beside the model, or name one "
            "with --tokenizer. Tokens can be decoded without: vidjacobi.load_model"
        )
    if codec is not None and tokenizer is not None:
        raise InvalidArgument(_TWO_TOKENIZERS.format(own.name))
    if codec is None:
        folder = folder_of(str(tokenizer), "tokenizer")
        codec = resolve(TOKENIZER_FILES)(folder, runtime.device, runtime.dtype, run_torchscript)
    return model, codec


def own_model(name: str) -> "OwnModel | None":
    """The model of the user's own that is named, None for other names; a file or folder of the name goes first.

    Raises InvalidArgument, BadCheckpoint.
    """
    if name in MODELS or is_there(name):
        return None
    from vidjacobi.models.own import find_own  # bundled models and folders need nothing of it

    return find_own(name)


def outline(name: str, dtype: torch.dtype) -> Outline:
    """The outline of a named model or of the checkpoint in a folder; nothing is fetched.

    A model of the user's own that does not bring an outline is loaded on the host and measured.

    Raises:
        InvalidArgument: neither a name nor a folder.
        BadCheckpoint: a folder without usable weights.
    """
    if is_there(name):
        return resolve(FOLDER_OUTLINES)(name, dtype)
    if (lower := name.lower()) in OUTLINES:
        return resolve(OUTLINES[lower])(lower, dtype)
    if found := resolve(PUBLISHED_OUTLINES)(name, dtype):
        return found
    if own := own_model(name):
        return _own_outline(own, None, dtype)
    raise InvalidArgument(
        f"unknown model {name!r}{suggest(lower, OUTLINES)}. Name {', '.join(OUTLINES)}, a released repository, "
        "package.module:load, or a folder with a checkpoint (nothing is fetched here)"
    )


def outline_to_load(name: str, tokenizer: str | Path | None, dtype: torch.dtype) -> Outline:
    """The outline of what ``load`` would load. Fetches a repository, unless it is a known release.

    Raises InvalidArgument, BadCheckpoint.
    """
    if is_shipped(name):
        return resolve(OUTLINES[name])(name, dtype)
    if not is_there(name) and (found := resolve(PUBLISHED_OUTLINES)(name, dtype)):
        return found
    if own := own_model(name):
        return _own_outline(own, tokenizer, dtype)
    return resolve(PAIR_OUTLINES)(name, *locate(name, tokenizer), dtype)


def _own_outline(own: "OwnModel", tokenizer: str | Path | None, dtype: torch.dtype) -> Outline:
    if made := own.outline(dtype):
        return made
    host = Runtime(torch.device("cpu"), dtype, "to be measured")
    return resolve(MEASURED_OUTLINES)(own.name, *_own_pair(own, host, tokenizer))


def is_shipped(name: str) -> bool:
    """Whether a name is that of a bundled model. A folder of the same name goes first."""
    return name in MODELS and not is_there(name)


def family_of(name: str) -> "FamilyName | None":
    """What a name says of a family, or None. A file or folder of the name goes first.

    Raises InvalidArgument for a family without a path.
    """
    if name in MODELS or is_there(name):
        return None
    if ":" not in name:
        from vidjacobi.config.model_facts import model_names  # other names need nothing of it

        if name not in model_names("bundled"):
            return None
    return resolve(FAMILY_NAME)(name)


def is_there(name: str) -> bool:
    """Whether a name is that of a file or folder; False for what can be none, such as one that is too long."""
    try:
        return Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long; a NUL; the home of an unknown user
        return False


def locate(name: str, tokenizer: str | Path | None = None) -> tuple[Path, Path]:
    """The folders of a checkpoint and of its tokenizer. Repositories are fetched.

    Raises InvalidArgument for an unknown name, BadCheckpoint where there is no tokenizer or nothing can be fetched.
    """
    weights = folder_of(name, "model")
    return weights, _tokenizer_folder(name, weights, tokenizer)


def resolve(target: str) -> Callable[..., Any]:
    """The function that a text ``module:function`` names; its module is imported."""
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)


def folder_of(name: str, kind: str) -> Path:
    """The folder of a model or tokenizer (``kind``). Repositories are fetched. Raises as ``locate``."""
    if is_there(name):
        return Path(name).expanduser()
    from vidjacobi.models import hub  # a folder needs nothing of it
    from vidjacobi.models.own import own_names

    if hub.is_repository(name) and not name.startswith("."):
        return hub.fetch(name, hub.MODEL_FILES if kind == "model" else hub.TOKENIZER_FILES)
    known = [*MODELS, *own_names(), "package.module:load", "FAMILY:PATH"] if kind == "model" else []
    places = ("a folder with a checkpoint", "or a Hugging Face repository (owner/name)")
    raise InvalidArgument(
        f"unknown {kind} {name!r}{suggest(name, [*known, *TOKENIZERS])}. Name {', '.join([*known, *places])}"
    )


def _tokenizer_folder(name: str, weights: Path, tokenizer: str | Path | None) -> Path:
    if tokenizer is not None:
        return folder_of(str(tokenizer), "tokenizer")
    folder = weights if weights.is_dir() else weights.parent
    if (beside := folder / "tokenizer").is_dir():
        return beside
    if (folder / "encoder.jit").is_file():
        return folder
    if name in TOKENIZERS:
        from vidjacobi.models import hub

        return hub.fetch(TOKENIZERS[name], hub.TOKENIZER_FILES)
    raise BadCheckpoint(
        f"{folder} has no video tokenizer: put encoder.jit and decoder.jit into {folder / 'tokenizer'}, or name "
        "its folder or repository with --tokenizer (e.g. nvidia/Cosmos-Tokenize1-DV8x16x16-720p). Models of other "
        "authors are named FAMILY:PATH, such as mineworld:FOLDER (vidjacobi models)"
    )
