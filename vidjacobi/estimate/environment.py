"""What is installed, and what memory this process has taken."""

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.loading import resolve
from vidjacobi.runtime import versions

EXTRAS = {
    "eval": ("pytorchvideo", "scipy", "torchmetrics"),
    "batch": ("pyarrow",),
    "ray": ("ray",),
}
OTHERS = ("torchvision", "safetensors", "decord")
FVD = "vidjacobi.eval.i3d_weights:find_installed"
STATUS, COUNTED = Path("/proc/self/status"), ("VmHWM", "RssAnon", "RssFile")


def installed() -> dict[str, str]:
    """Versions of what a rollout needs, CUDA's among them."""
    found = versions() | {name: version_of(name) for name in OTHERS}
    found["cuda of torch"] = torch.version.cuda or "none (a CPU build)"
    return found


def extras() -> dict[str, str]:
    """For each optional extra whether it is complete, else what is missing."""
    answers = {}
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        answers[extra] = f"not installed: {', '.join(missing)}" if missing else "installed"
    weights = resolve(FVD)()
    answers["FVD weights"] = (
        str(weights) if weights else "not found: `vidjacobi eval setup` says how to get them"
    )
    return answers


def version_of(package: str) -> str:
    """Of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def process_memory() -> dict[str, int]:
    """Bytes of this process, as Linux counts them: ``VmHWM`` (most at once so far), ``RssAnon`` (its own, now) and
    ``RssFile`` (pages of mapped files, which the system may take back, now). Raises InvalidArgument elsewhere."""
    if not STATUS.is_file():
        raise InvalidArgument(f"{STATUS} is not there: memory of processes is only read on Linux")
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {name[:-1]: 1024 * int(rest[0]) for name, *rest in lines if name[:-1] in COUNTED}
