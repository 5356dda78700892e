"""What a model of unknown make holds: the tensors and modules among its attributes, lists and dicts."""

from collections.abc import Iterator

from torch import Tensor, nn


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
            key = id(one) if one.is_meta else one.untyped_storage().data_ptr()
            if key not in found or one.nbytes > found[key].nbytes:
                found[key] = one
    return list(found.values())


def trained_in(thing: object) -> list[str]:
    """The kinds of modules that are in train mode, as ``Dropout`` drops and ``BatchNorm2d`` mixes clips then."""
    kinds = (type(one).__name__ for one in objects_in(thing) if isinstance(one, nn.Module) and one.training)
    return sorted(set(kinds))
