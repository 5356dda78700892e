"""Device, dtype and versions. Only this module calls torch.cuda. The paths for CUDA have not run on a GPU yet."""

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.invariance import Sizes, pass_shape
from vidjacobi.kinds import of_kind

T = TypeVar("T")
PACKAGES = ("vidjacobi", "torch", "transformers", "numpy", "av", "decord")  # results may depend on these
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes, or "max"
# of nano, which stands for all models where none is at hand yet; its own passes then need no second probe
PRODUCTS = ((256, 128), (256, 256), (256, 512), (256, 704), (704, 256), (256, 1408), (256, 8064))
SMALL = Sizes(PRODUCTS, kv_heads=2, group=2, head_size=64, gates=(704,))
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Runtime:
    """Where and in what precision a model runs, and why that dtype was chosen."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def choose(device: str = "auto", dtype: str = "auto") -> Runtime:
    """Resolve ``auto``: the first GPU if there is one; bfloat16 where it is native, else float32.

    On a processor it must also be exact: passes of the bundled model's sizes are probed (``vidjacobi.invariance``).

    Raises InvalidArgument for a device that is not there or an unknown dtype.
    """
    place = pick_device(of_kind("the device", device, str, "cpu, cuda, cuda:N or auto"))
    of_kind("the dtype", dtype, str, f"auto, {', '.join(DTYPES)}")
    if dtype != "auto":
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise InvalidArgument(f"unknown dtype {dtype!r}. There are: auto, {', '.join(DTYPES)}")
        return Runtime(place, DTYPES[dtype], "asked for")
    if place.type == "cuda" and torch.cuda.is_bf16_supported():
        return Runtime(place, torch.bfloat16, "the checkpoints are bfloat16 and this GPU computes in it")
    if place.type == "cpu" and multiplies_bfloat16():
        if pass_shape(SMALL, torch.bfloat16, place, torch.get_num_threads(), attend).invariant:
            return Runtime(place, torch.bfloat16, "this processor multiplies in it, and its passes are exact")
        return Runtime(place, torch.float32, "bfloat16 passes are not width-invariant on this processor")
    return Runtime(place, torch.float32, f"bfloat16 is slow or missing on {place.type}")


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention, and each query's log-sum-exp of scores, which ``F.scaled_dot_product_attention`` does not return.

    Queries ``[b m q d]``, keys and values ``[b m l d]``, an additive mask ``[b 1 q l]``; returns ``[b m q d]`` and
    ``[b m q]`` in float32 (float64 for float64). The path for CUDA is untested on a GPU.
    """
    if queries.is_cuda:
        spread = mask.expand(-1, queries.shape[1], -1, -1)
        efficient = torch.ops.aten._scaled_dot_product_efficient_attention
        mixed, norm, *_ = efficient(queries, keys, values, spread, True)
        return mixed, norm[..., : queries.shape[2]]  # rows are padded to a multiple of 32
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    mixed, norm = flash(queries, keys, values, attn_mask=mask)
    return mixed, norm


def number(value: int | float, beside: Tensor) -> Tensor | int | float:
    """A number as what an operation on a CPU takes at once, whose dtype is that of ``beside``.

    Of a plain number PyTorch makes a tensor in each operation, which takes twice as long as an operation on few rows.
    """
    if not beside.is_cpu or type(beside) is not Tensor or torch.compiler.is_compiling():
        return value
    return _tensor_of(value, beside.dtype)


@lru_cache(maxsize=256)
def _tensor_of(value: int | float, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # else no training could use it any more
        return torch.tensor(value, dtype=dtype, device="cpu")


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 numbers, as far as torch knows."""
    # torch before 2.9 cannot be asked; then float32 it is
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))


def pick_device(name: str) -> torch.device:
    """The torch device of this name, or the best one for ``auto``. Raises InvalidArgument if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # torch knows more devices, such as meta, whose tensors have no numbers
    if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", name):
        raise InvalidArgument(f"unknown device {name!r}: use cpu, cuda, cuda:N or auto")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidArgument(f"device {name!r}: torch sees no CUDA device here. Use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidArgument(
            f"device {name!r}: there are only {number_of(torch.cuda.device_count(), 'CUDA device')}"
        )
    return device


def describe_device(device: torch.device) -> str:
    """A device in words: the name of the GPU, or the kind of processor and the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}, {number_of(torch.get_num_threads(), 'thread')}"


def versions() -> dict[str, str]:
    """Versions that a result may depend on: Python's and those of PACKAGES."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def gib(count: int) -> str:
    """Bytes as people read them, such as ``1.50 GiB``; below 0.25 GiB in MiB."""
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 28 else f"{count / (1 << 20):.1f} MiB"


def free_memory(device: torch.device) -> int:
    """Bytes that tensors could get on ``device`` now; on a CPU no more than its control group's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil  # type: ignore[import-untyped]  # comes with accelerate

    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    available = int(psutil.virtual_memory().available)
    return available if limit == "max" else min(available, int(limit))


def give_back(device: torch.device) -> None:
    """Return the memory that PyTorch keeps for later tensors to the device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def graph_recorder() -> Callable[[Callable[[], T], Callable[[], T]], Callable[[], T]]:
    """A function ``record(warm_up, work)`` that captures CUDA graphs; all its graphs share their working memory.

    ``record`` returns a function that runs ``work`` again on the same memory and gives its results. A capture
    executes nothing, so ``warm_up`` runs before it: what is compiled, tuned or allocated once must not happen
    during the capture.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(warm_up: Callable[[], T], work: Callable[[], T]) -> Callable[[], T]:
        # The recipe of PyTorch's documentation: warm up on a side stream, which first waits for the work that the
        # current stream has, and let the current stream wait for it before the capture begins.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                warm_up()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            results = work()

        def replay() -> T:
            graph.replay()
            return results

        return replay

    return record


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all work that it was given."""
    torch.cuda.synchronize(device)


def refuse_autocast(device: torch.device) -> None:
    """Raise InvalidArgument in ``torch.autocast``: products would be computed in another dtype than was probed."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        raise InvalidArgument(
            "torch.autocast is on, which computes products in another dtype than that of the weights: decode outside "
            "of it, and load the model in bfloat16 where that is wanted"
        )
