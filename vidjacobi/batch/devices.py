"""The devices of workers, and the dtype that they compute in."""

from collections.abc import Sequence

import torch

from vidjacobi.batch.settings import BatchConfig
from vidjacobi.errors import InvalidArgument
from vidjacobi.runtime import choose, pick_device


def devices_of(config: BatchConfig) -> list[str]:
    """One device per worker of the local engine. Raises InvalidArgument for a device that is not there."""
    return worker_devices(config.devices, config.workers)


def worker_devices(devices: str, workers: int | None) -> list[str]:
    """One device for each of ``workers`` (None: as many as devices), of a list with commas, or auto: every GPU, else
    the CPU. Raises InvalidArgument for a device that is not there.
    """
    if devices == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [f"cuda:{index}" for index in range(count)] or ["cpu"]
    else:
        names = [str(pick_device(name.strip())) for name in devices.split(",")]
    # in turn, where there are more workers
    return [names[index % len(names)] for index in range(workers or len(names))]


def dtype_of(config: BatchConfig) -> torch.dtype:
    """The one dtype that all workers compute in. Raises InvalidArgument where ``auto`` differs from device to device.

    On a cluster it is that of the machine that starts the batch; an actor of another one refuses to work.
    """
    return common_dtype(devices_of(config), config.dtype)


def common_dtype(devices: Sequence[str], dtype: str) -> torch.dtype:
    """What ``dtype`` is on all of the devices. Raises InvalidArgument where ``auto`` differs among them."""
    if dtype != "auto":
        return choose("cpu", dtype).dtype
    found = {name: choose(name).dtype for name in devices}
    if len(set(found.values())) > 1:
        words = ", ".join(f"{name} {str(dtype).removeprefix('torch.')}" for name, dtype in found.items())
        raise InvalidArgument(
            f"the devices compute in different dtypes ({words}), so results would depend on the worker: give --dtype"
        )
    return next(iter(found.values()))
