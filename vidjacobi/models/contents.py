"""What a model of unknown make holds: the tensors and modules among its attributes, lists and dicts."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

LOOKED_AT = 32  # numbers of the first and of the last row of a parameter that tell whether it was written


def objects_in(thing: object) -> Iterator[object]:
    """The thing and everything that it holds, each once; functions and classes are not looked into."""
    seen: set[int] = set()
    waiting: list[object] = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, nn.Module):
            waiting += [*one.parameters(), *one.buffers(), *one.children()]
            waiting += [value for key, value in vars(one).items() if not key.startswith("_")]
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
        elif hasattr(one, "__dict__") and not isinstance(one, type | Tensor) and not callable(one):
            waiting += vars(one).values()


def tensors_in(thing: object) -> list[Tensor]:
    """All tensors that it holds, of those with a common memory the largest."""
    found: dict[int, Tensor] = {}
    for one in objects_in(thing):
        if isinstance(one, Tensor):
            opaque = one.is_meta or one.is_mkldnn  # has no storage to look at
            key = id(one) if opaque else one.untyped_storage().data_ptr()
            if key not in found or one.nbytes > found[key].nbytes:
                found[key] = one
    return list(found.values())


def trained_in(thing: object) -> list[str]:
    """The kinds of modules that are in train mode, as ``Dropout`` drops and ``BatchNorm2d`` mixes clips then."""
    kinds = (type(one).__name__ for one in objects_in(thing) if isinstance(one, nn.Module) and one.training)
    return sorted(set(kinds))


def traces(modules: Iterable[nn.Module]) -> list[tuple[torch.dtype, list[float]]]:
    """The dtype and some numbers of each parameter: others, all but surely, where they were trained or loaded.

    Not the versions that PyTorch counts: a fused optimiser, and what is written by way of ``.data``, leaves them.
    """
    own = {id(part): part for module in modules for part in module.parameters(recurse=False)}
    plain = (part for part in own.values() if part.layout == torch.strided and not part.is_meta)
    there = [part.detach() for part in plain if part.numel()]
    rows = ((part[[0, -1]] if part.ndim > 1 else part).reshape(-1) for part in there)
    seen = (torch.cat([row[:LOOKED_AT], row[-LOOKED_AT:]]).tolist() for row in rows)
    return list(zip((part.dtype for part in there), seen, strict=True))
