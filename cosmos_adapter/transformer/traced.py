"""Layers of a pass as TorchScript: the kernels of ``Layer.forward``, called without Python in between.

A pass of few inputs on a CPU spends more time in Python between its kernels than in them. So a layer's own forward is
recorded once (``torch.jit.trace``), with the weights as inputs: one record serves all layers of a network and passes
of all shapes, and what is written to a weight later holds. The bits are those of ``forward``, which is checked with
the first pass of every shape. Whatever is not plain inference on a CPU, and every layer that is not as it was built
(hooks, other modules in it), runs ``forward`` itself.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_adapter.transformer.attention import GroupedQueryAttention, LayerCache, PassInputs, RMSNorm
from cosmos_adapter.transformer.linear import FeedForward, Linear, NotCopied, times

SEEN = 6  # passes before a layer is recorded, which takes as long as about so many passes save
SHAPES = 1024  # that are remembered
PARTS = (GroupedQueryAttention, FeedForward, *4 * [RMSNorm], Linear, Linear)

Weights = tuple[tuple[Tensor, ...], tuple[bool, ...]]  # of a layer, and which of its products' are packed
Record = Callable[..., Tensor]


class Records(NotCopied):
    """The records of a network's layers.

    Args:
        most: rows of a product (``PassShape.most``): how many products a pass takes is part of a record.
    """

    def __init__(self, most: int) -> None:
        self._most, self._seen = most, 0
        self._made: dict[Any, Record | None] = {}
        self._checked: dict[Any, Record | None] = {}  # by the shapes of a pass

    def through(
        self, layers: Sequence[nn.Module], h: Tensor, shared: PassInputs, cache: Sequence[LayerCache]
    ) -> Tensor:
        """What the layers make of ``h``, one after the other."""
        self._seen += 1
        shared_by_layers = shared.cos, shared.sin, shared.places, shared.mask
        shape = (
            h.dtype,
            h.shape,
            cache[0].keys.shape,
            *(part.shape for part in shared_by_layers[2:] if part is not None),
        )
        # TorchScript's own changes to a graph take longer than they save, and need not keep bits
        with torch.jit.optimized_execution(False):
            for layer, own in zip(layers, cache, strict=True):
                given = weights_of(layer) if self._seen > SEEN else None
                record = None if given is None else self._checked.get((given[1], shape), self._check)
                if given is None or record is None:
                    h = layer(h, shared, own, None)
                elif record == self._check:
                    h = self._check((given[1], shape), layer, h, shared, own, given)
                else:
                    h = record(h, *shared_by_layers, *own, *given[0])
        return h

    def _check(
        self, key: Any, layer: nn.Module, h: Tensor, shared: PassInputs, cache: LayerCache, given: Weights
    ) -> Tensor:
        """What the layer makes of the first ``h`` of a shape. The record serves it where it has the same bits."""
        weights, packed = given
        inputs = h, shared.cos, shared.sin, shared.places, shared.mask, *cache, *weights
        rows = h.shape[:-1].numel()
        kind = packed, h.dtype, -(-rows // self._most) if self._most else 1
        expected: Tensor = layer(h, shared, cache, None)
        if kind not in self._made:
            self._made[kind] = traced(layer, inputs, packed)
        record = self._made[kind]
        if len(self._checked) >= SHAPES:
            self._checked.clear()
        self._checked[key] = record if record and alike(record, inputs, expected) else None
        return expected


def alike(record: Record, inputs: Sequence[Any], expected: Tensor) -> bool:
    """Whether a record has these bits."""
    try:
        return torch.equal(record(*inputs), expected)
    except RuntimeError:  # a record that is not for this shape
        return False


def takes_records(h: Tensor, shared: PassInputs, cache: Sequence[Any] | None) -> bool:
    """Whether a pass is plain inference on a CPU over a cache of ours."""
    return (
        h.is_cpu
        and type(h) is Tensor
        and not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing())
        and not torch.is_autocast_enabled("cpu")
        and shared.mask is not None
        and shared.absolute is None
        and cache is not None
        and type(cache[0]) is LayerCache
    )


def weights_of(layer: nn.Module) -> Weights | None:
    """What a record of a layer is given; None for a layer that is not as it was built, or not joined."""
    own = layer._modules
    attention, feed = own["attention"], own["feed_forward"]
    if attention is None or feed is None or "cross_attention" in own:
        return None
    inner, outer = attention._modules, feed._modules
    norms = own["attention_norm"], inner["q_norm"], inner["k_norm"], own["ffn_norm"]
    parts = attention, feed, *norms, inner["wo"], outer["w2"]
    if tuple(map(type, parts)) != PARTS or any(map(is_changed, (layer, *parts))):
        return None
    return _weights(attention, feed, norms)


def is_changed(module: Any) -> bool:
    """Whether a call of the module does something else than its class says."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)


def _weights(attention: Any, feed: Any, norms: Sequence[Any]) -> Weights | None:
    factors = [joined and joined.factor for joined in (attention.joined, feed.joined)]
    if None in factors:
        return None
    factors += [attention._modules["wo"].factor, feed._modules["w2"].factor]
    weights, packed = zip(*factors, strict=True)
    return (*(norm._parameters["weight"] for norm in norms), *weights), packed


class Given:
    """Projections whose weight is handed in."""

    def __init__(self, weight: Tensor, packed: bool, most_rows: int) -> None:
        self.factor, self.most_rows = (weight, packed), most_rows

    def product(self, x: Tensor) -> Tensor:
        """x times the weight."""
        return times(x, self.factor, self.most_rows)

    __call__ = product


def traced(layer: nn.Module, inputs: tuple[Tensor | None, ...], packed: tuple[bool, ...]) -> Record | None:
    """``Layer.forward`` as TorchScript, of the weights that are the last inputs; None where that does not work."""

    def run(h: Tensor, cos: Tensor, sin: Tensor, places: Tensor, mask: Tensor, *rest: Tensor) -> Tensor:
        shared = PassInputs(cos, sin, None, places, mask, None)
        found: Tensor = twin(layer, rest[2:], packed)(h, shared, LayerCache(*rest[:2]), None)
        return found

    with warnings.catch_warnings():
        # it is deprecated (PyTorch 2.14), and warns of sizes that become constants, as they should
        warnings.simplefilter("ignore")
        try:
            record: Record = torch.jit.trace(run, inputs, check_trace=False)
        except Exception:  # a version of PyTorch without it: ``forward`` has the same bits
            return None
    return record


def twin(layer: nn.Module, weights: Sequence[Tensor], packed: Sequence[bool]) -> nn.Module:
    """The layer with other weights, in the order of ``weights_of``."""
    made = _with_parts(layer)
    attention, feed = _with_parts(layer.attention), _with_parts(layer.feed_forward)
    most = attention.wo.most_rows
    given = [Given(*pair, most) for pair in zip(weights[4:], packed, strict=True)]
    made._modules.update(attention=attention, feed_forward=feed)
    for owner, name, weight in zip(
        (made, attention, attention, made),
        ("attention_norm", "q_norm", "k_norm", "ffn_norm"),
        weights,
        strict=False,
    ):
        norm = owner._modules[name] = _with_parts(owner._modules[name])
        norm._parameters["weight"] = weight
    attention.joined, feed.joined = given[:2]
    attention._modules["wo"], feed._modules["w2"] = given[2:]
    return made


def _with_parts(module: Any) -> Any:
    """A copy that shares everything with the module but what it consists of."""
    made = copy.copy(module)
    made._modules, made._parameters = dict(module._modules), dict(module._parameters)
    return made
