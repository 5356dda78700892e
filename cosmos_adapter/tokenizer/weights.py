"""From a folder to a tokenizer. Every load is strict: missing and unexpected names and wrong shapes are listed."""

import json
from pathlib import Path

import torch
from torch import Tensor

from cosmos_adapter.checkpoint import (
    load_strict,
    read_json,
    read_state_dict,
    require_content,
    without_weights,
)
from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec, ScriptCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from vidjacobi.errors import BadCheckpoint

SCRIPTS = ("encoder.jit", "decoder.jit")
WEIGHTS = ("model.safetensors", "model.pt")

# Buffers in the TorchScript files that our network computes with as constants; they are compared and left out.
CONSTANTS = (
    "encoder.patcher3d.wavelets",
    "encoder.patcher3d._arange",
    "encoder.patcher3d.patch_size_buffer",
    "decoder.unpatcher3d.wavelets",
    "decoder.unpatcher3d._arange",
    "quantizer._levels",
    "quantizer._basis",
    "quantizer.implicit_codebook",
    "inv_quant.quantizer._levels",
    "inv_quant.quantizer._basis",
    "inv_quant.quantizer.implicit_codebook",
)


def load_tokenizer(
    folder: Path, device: torch.device | str, dtype: torch.dtype, run_torchscript: bool = False
) -> CosmosTokenizer:
    """The tokenizer in ``folder``: ``model.safetensors``, or ``encoder.jit`` and ``decoder.jit``, or ``model.pt``.

    An optional ``config.json`` overlays the defaults (DV8x16x16 at 640x1024, 33 frames). The weights are taken out of
    the files, the ``.jit`` ones too, without running anything in them. ``run_torchscript=True`` runs the two
    TorchScript files instead of our network. **That executes the program that they contain**, so use it only for
    files that you trust.

    Raises BadCheckpoint, which says what is wrong and what to put where.
    """
    if not folder.is_dir():
        raise BadCheckpoint(f"no tokenizer folder {folder}")
    spec = read_spec(folder)
    if run_torchscript:
        return CosmosTokenizer(spec, _script_codec(folder, torch.device(device), dtype))
    state = _read_weights(folder)
    _check_constants(spec, state, folder)
    with without_weights():
        net = TokenizerNet(spec)
    load_strict(net, {k: v for k, v in state.items() if k not in CONSTANTS}, _described(folder))
    net.requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last_3d)
    return CosmosTokenizer(spec, NetCodec(net))


def save_tokenizer(net: TokenizerNet, folder: Path) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``, which is made if it is missing."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(net.spec.to_config(), indent=2) + "\n", encoding="utf-8")


def read_spec(folder: Path) -> TokenizerSpec:
    """The sizes in ``folder/config.json``, or the official ones where there is no such file. Raises BadCheckpoint."""
    path = folder / "config.json"
    if not path.is_file():
        return TokenizerSpec()
    config = read_json(path)
    try:
        return TokenizerSpec.from_config(config)
    except (TypeError, ValueError, OverflowError) as error:  # InvalidArgument is a ValueError
        raise BadCheckpoint(f"{path} does not describe a tokenizer: {error}") from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    # model.safetensors goes first; model.pt is used only where the pair of .jit files is not complete.
    scripts = [folder / name for name in SCRIPTS]
    single = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if single and (single[0].suffix == ".safetensors" or not all(path.is_file() for path in scripts)):
        return read_state_dict(single[0])
    _require_scripts(folder, f"{WEIGHTS[0]}, or {WEIGHTS[1]}, or both {SCRIPTS[0]} and {SCRIPTS[1]}")
    from cosmos_adapter.tokenizer.torchscript import read_torchscript  # only the released files need it

    return read_torchscript(scripts[0]) | read_torchscript(scripts[1])


def _require_scripts(folder: Path, wanted: str) -> None:
    missing = [name for name in SCRIPTS if not (folder / name).is_file()]
    if missing:
        raise BadCheckpoint(
            f"no video tokenizer in {folder}: put {wanted} there (as released with Cosmos-Tokenize1-DV8x16x16-720p "
            f"or Cosmos-1.0-Tokenizer-DV8x16x16); not found: {', '.join(missing)}"
        )


def _described(folder: Path) -> str:
    if (folder / "config.json").is_file():
        return f"the tokenizer in {folder}"
    return f"the tokenizer in {folder} (no config.json there, so taken for the released DV8x16x16)"


def _check_constants(spec: TokenizerSpec, state: dict[str, Tensor], folder: Path) -> None:
    """Raise BadCheckpoint where levels or wavelets in the file are not those that our network computes with."""
    for name in ("quantizer._levels", "inv_quant.quantizer._levels"):
        levels = tuple(int(n) for n in state[name].flatten()) if name in state else spec.levels
        if levels != spec.levels:
            raise BadCheckpoint(f"{folder}: {name} is {levels}, but config.json says {spec.levels}")
    haar = torch.full((2,), 0.5**0.5)
    for name in ("encoder.patcher3d.wavelets", "decoder.unpatcher3d.wavelets"):
        wavelets = state.get(name, haar).flatten().float()
        if wavelets.shape != haar.shape or not torch.allclose(wavelets, haar, atol=1e-2):
            raise BadCheckpoint(f"{folder}: {name} is {wavelets.tolist()}, not the Haar wavelet")


def _script_codec(folder: Path, device: torch.device, dtype: torch.dtype) -> ScriptCodec:
    _require_scripts(folder, f"both {SCRIPTS[0]} and {SCRIPTS[1]}")
    # As in the official pipeline: the fuser would compile the graph anew for every new shape.
    torch._C._jit_set_texpr_fuser_enabled(False)
    modules = []
    for name in SCRIPTS:
        require_content(folder / name)
        try:
            module = torch.jit.load(folder / name, map_location=device)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BadCheckpoint(f"{folder / name} is truncated or not a TorchScript file: {reason}") from None
        modules.append(module.to(device, dtype))
    return ScriptCodec(modules[0], modules[1], device, dtype)
