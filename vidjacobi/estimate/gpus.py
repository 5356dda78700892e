"""What a GPU can do, by its data sheet: ``configs/gpu/NAME.yaml`` or a file of the user's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from vidjacobi.config.yaml_files import read_config
from vidjacobi.errors import InvalidArgument

KEYS = ("name", "memory_mib", "reserved_mib", "bandwidth_gb_s", "tflops", "source")


@dataclass(frozen=True)
class Gpu:
    """Peak numbers, dense.

    Attributes:
        name: as sold.
        memory: bytes that there are.
        reserved: bytes of them that no tensor gets (context, libraries, gaps); an assumption.
        bandwidth: bytes per second.
        flops: per second, by dtype (``int8``: operations).
        source: where the numbers are from.
    """

    name: str
    memory: int
    reserved: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str

    @property
    def usable(self) -> int:
        """Bytes for tensors."""
        return self.memory - self.reserved


def load_gpu(name: str) -> Gpu:
    """A GPU by name or YAML file. Raises InvalidArgument: unknown name, missing or impossible number."""
    try:
        values = OmegaConf.to_container(OmegaConf.create(read_config("gpu", name)))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"gpu {name!r}: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise InvalidArgument(f"gpu {name!r}: expected the keys {', '.join(KEYS)}")
    absent = [key for key in KEYS if key not in values]
    if absent:
        raise InvalidArgument(f"gpu {name!r} lacks {', '.join(absent)}; see configs/gpu/h100.yaml")
    flops = values["tflops"]
    if not isinstance(flops, dict) or not flops:
        raise InvalidArgument(f"gpu {name!r}: tflops must be {{dtype: number, ...}}, not {flops!r}")
    mib, giga = 1 << 20, 1e9
    number = lambda key: _positive(name, key, values[key])  # noqa: E731
    return Gpu(
        name=str(values["name"]),
        memory=int(number("memory_mib") * mib),
        reserved=int(number("reserved_mib") * mib),
        bandwidth=number("bandwidth_gb_s") * giga,
        flops={str(dtype): _positive(name, f"tflops.{dtype}", peak) * 1e12 for dtype, peak in flops.items()},
        source=str(values["source"]),
    )


def _positive(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise InvalidArgument(f"gpu {name!r}: {key} must be a number above 0, not {value!r}")
    return float(value)
