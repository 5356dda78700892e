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
from operator import attrgetter
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from cosmos_adapter.transformer.attention import GroupedQueryAttention, LayerCache, PassInputs, RMSNorm
from cosmos_adapter.transformer.linear import (
    FeedForward,
    Linear,
    NotCopied,
    has_hooks_of_all,
    is_changed,
    times,
    version_of,
)

SEEN = 6  # passes before a layer is recorded, which takes as long as about so many passes save
SHAPES = 1024  # that are remembered
PARTS: tuple[type[nn.Module], ...] = (GroupedQueryAttention, FeedForward, *4 * [RMSNorm], Linear, Linear)

# What a record depends on beside weights, of each part. Where it is another, ``given_to`` is asked again.
PRODUCT = attrgetter("most_rows", "packed")
SETTINGS: dict[type, Callable[[Any], Any]] = {
    GroupedQueryAttention: attrgetter("joined", "most_queries", "n_heads", "head_size"),
    FeedForward: attrgetter("joined", "plain_silu"),
    RMSNorm: attrgetter("eps"),
    Linear: PRODUCT,
}
# Of all networks, by what is part of a record and the sizes of its weights: TorchScript never forgets a function.
MADE: dict[Any, "Record | None"] = {}

Record = Callable[..., Tensor]


class Given(NamedTuple):
    """What a record of a layer is given, and what is part of it.

    Attributes:
        weights: of the norms, then of the products.
        packed, most: of each product: whether its weight is packed, most rows.
        queries, plain_silu: as in ``PassShape``.
        eps: of the norms.
        heads: their number and size.
    """

    weights: tuple[Tensor, ...]
    packed: tuple[bool, ...]
    most: tuple[int, ...]
    queries: int
    plain_silu: bool
    eps: tuple[float, ...]
    heads: tuple[int, int]

    def pieces(self, h: Tensor, mask: Tensor) -> tuple[int, ...]:
        """Into how many pieces each product, and attention, is cut."""
        counts = *(4 * [h.shape[:-1].numel()]), mask.shape[2]
        limits = *self.most, self.queries
        return tuple(-(-rows // most) if most else 1 for rows, most in zip(counts, limits, strict=True))


class Seal:
    """What the records of some layers of class ``kind`` are given, and what the layers were like when it was asked.

    While it ``holds``, ``given_to`` would say the same; to see that takes half the time of asking again.
    """

    def __init__(self, layers: Sequence[nn.Module], kind: type[nn.Module]) -> None:
        self.given = [given_to(layer) if type(layer) is kind else None for layer in layers]
        self.weights = [given.weights if given else () for given in self.given]
        # by the code and the shapes of a pass: of each layer the record that has its bits
        self.records: dict[Any, list[Record | None]] = {}
        modules: list[Any] = [module for layer in layers for module in layer.modules()]
        self._layers, self._modules, self._own = tuple(layers), modules, [part.__dict__ for part in modules]
        self._parts = [part._modules for part in modules if part._modules]
        self._weights = [part._parameters for part in modules if part._parameters]
        self._settings = [(SETTINGS[type(part)], part) for part in modules if type(part) in SETTINGS]
        found: Any = [getattr(part, "joined", None) for part in modules]
        self._settings += [(PRODUCT, joined) for joined in found if joined]
        self._packs = any(any(given.packed) for given in self.given if given)
        self._kept, self._seen = self._inside(), self._look()

    def _inside(self) -> tuple[list[Any], list[Any]]:
        parts = [part for own in self._parts for part in own.values()]
        return parts, [weight for own in self._weights for weight in own.values()]

    def _look(self) -> tuple[Any, ...]:
        parts, weights = self._inside()
        return (
            # ``_kept`` lives as long as this, so no other object can have got one of the numbers
            [*map(id, parts)],
            [*map(id, weights)],
            [None if weight is None else weight.data_ptr() for weight in weights],
            [version_of(weight) for weight in weights if weight is not None] if self._packs else None,
            [*map(type, self._modules)],
            [*map(len, self._own)],  # one more where somebody put a ``forward`` beside that of the class
            [bool(part._forward_hooks or part._forward_pre_hooks) for part in self._modules],
            [setting(part) for setting, part in self._settings],
        )

    def holds(self, layers: Sequence[nn.Module]) -> bool:
        """Whether nothing has changed but what is written into weights that are not packed."""
        return (*layers,) == self._layers and self._look() == self._seen


class Records(NotCopied):
    """The records of a network's layers, which are of class ``kind``."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self._kind = kind
        self._seen = 0
        self._seal: Seal | None = None

    def through(
        self, layers: Sequence[nn.Module], h: Tensor, shared: PassInputs, cache: Sequence[LayerCache]
    ) -> Tensor:
        """What the layers make of ``h``, one after the other."""
        self._seen += 1
        if self._seen <= SEEN:
            for layer, own in zip(layers, cache, strict=True):
                h = layer(h, shared, own, None)
            return h
        seal = self._seal  # another thread may put one of its own in its place
        if seal is None or not seal.holds(layers):
            self._seal = seal = Seal(layers, self._kind)
        of_pass = shared.cos, shared.sin, shared.places, shared.mask
        shape = h.dtype, h.shape, cache[0].keys.shape, *(part.shape for part in of_pass if part is not None)
        # somebody may have put other functions in their place
        code = tuple(kind.forward for kind in (self._kind, *PARTS))
        records = seal.records.get((code, shape))
        # TorchScript's own changes to a graph take longer than they save, and need not keep bits
        with torch.jit.optimized_execution(False):
            if records is None:
                found = []
                for layer, own, given in zip(layers, cache, seal.given, strict=True):
                    record, h = checked_record(code, layer, h, shared, own, given)
                    found.append(record)
                if len(seal.records) >= SHAPES:
                    seal.records.clear()
                seal.records[code, shape] = found
                return h
            for layer, own, weights, record in zip(layers, cache, seal.weights, records, strict=True):
                h = record(h, *of_pass, *own, *weights) if record else layer(h, shared, own, None)
        return h


def checked_record(
    code: Any, layer: nn.Module, h: Tensor, shared: PassInputs, cache: LayerCache, given: Given | None
) -> tuple[Record | None, Tensor]:
    """The record for passes of this shape, None unless it has the layer's bits; and what the layer makes of ``h``."""
    assert shared.mask is not None
    expected: Tensor = layer(h, shared, cache, None)
    if given is None:
        return None, expected
    inputs = h, shared.cos, shared.sin, shared.places, shared.mask, *cache, *given.weights
    sizes = tuple((weight.shape, weight.dtype) for weight in given.weights)
    kind = given[1:], code, h.dtype, sizes, given.pieces(h, shared.mask)
    if kind not in MADE:
        MADE[kind] = traced(layer, inputs, given)
    record = MADE[kind]
    return record if record and alike(record, inputs, expected) else None, expected


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
        and not (torch._C._len_torch_function_stack() or has_hooks_of_all())
        and shared.mask is not None
        and shared.absolute is None
        and cache is not None
        and type(cache[0]) is LayerCache
    )


def given_to(layer: nn.Module) -> Given | None:
    """What a record of a layer is given; None for a layer that is not as it was built, or not joined."""
    own: Any = layer._modules
    attention, feed = own["attention"], own["feed_forward"]
    if attention is None or feed is None or "cross_attention" in own:
        return None
    inner, outer = attention._modules, feed._modules
    norms = own["attention_norm"], inner["q_norm"], inner["k_norm"], own["ffn_norm"]
    parts = attention, feed, *norms, inner["wo"], outer["w2"]
    if tuple(map(type, parts)) != PARTS or any(map(is_changed, (layer, *parts))):
        return None
    if norms[1].eps != norms[2].eps:  # then ``projected`` does not compute queries and keys as one
        return None
    products: Any = attention.joined, inner["wo"], feed.joined, outer["w2"]
    factors = [product and product.factor for product in products]
    if None in factors:
        return None
    weights, packed = zip(*factors, strict=True)
    most = tuple(product.most_rows for product in products)
    return Given(
        (*(norm._parameters["weight"] for norm in norms), *weights),
        packed,
        most,
        attention.most_queries,
        feed.plain_silu,
        tuple(norm.eps for norm in norms),
        (attention.n_heads, attention.head_size),
    )


class HandedIn:
    """Projections whose weight is handed in."""

    def __init__(self, weight: Tensor, packed: bool, most_rows: int) -> None:
        self.factor, self.most_rows = (weight, packed), most_rows

    def product(self, x: Tensor) -> Tensor:
        """x times the weight."""
        return times(x, self.factor, self.most_rows)

    __call__ = product


def traced(layer: nn.Module, inputs: tuple[Tensor | None, ...], given: Given) -> Record | None:
    """``Layer.forward`` as TorchScript, of the weights that are the last inputs; None where that does not work."""

    def run(h: Tensor, cos: Tensor, sin: Tensor, places: Tensor, mask: Tensor, *rest: Tensor) -> Tensor:
        shared = PassInputs(cos, sin, None, places, mask, None)
        found: Tensor = twin(own[0], rest[2:], given)(h, shared, LayerCache(*rest[:2]), None)
        return found

    own = [layer]  # which the record need not keep
    with warnings.catch_warnings():
        # it is deprecated (PyTorch 2.14), and warns of sizes that become constants, as they should
        warnings.simplefilter("ignore")
        try:
            record: Record = torch.jit.trace(run, inputs, check_trace=False)
        except Exception:  # a version of PyTorch without it: ``forward`` has the same bits
            return None
        finally:
            own.clear()
    return simplified(record)


def simplified(record: Any) -> Record:
    """The record without what tracing leaves behind: sizes as tensors and back again, the same constant many times.

    It has a twentieth of the instructions for that, and a tenth less time. No size becomes a constant.
    """
    torch_c: Any = torch._C
    try:
        graph = record.graph.copy()
        torch_c._jit_pass_peephole(graph, True)  # True: nothing that follows from the sizes of the first pass
        torch_c._jit_pass_cse(graph)
        torch_c._jit_pass_dce(graph)
        torch_c._jit_pass_constant_pooling(graph)
        simple: Record = torch_c._create_function_from_graph("layer", graph)
    except (AttributeError, TypeError):  # another version of PyTorch: the record as it is has the same bits
        return cast(Record, record)
    return simple


def twin(layer: Any, weights: Sequence[Tensor], given: Given) -> Any:
    """The layer with other weights, in the order of ``Given``."""
    made, attention, feed = (_with_own_parts(part) for part in (layer, layer.attention, layer.feed_forward))
    made._modules.update(attention=attention, feed_forward=feed)
    norms = (made, "attention_norm"), (attention, "q_norm"), (attention, "k_norm"), (made, "ffn_norm")
    for (owner, name), weight in zip(norms, weights, strict=False):
        owner._modules[name] = _with_own_parts(owner._modules[name])
        owner._modules[name]._parameters["weight"] = weight
    products = [HandedIn(*one) for one in zip(weights[4:], given.packed, given.most, strict=True)]
    attention.joined, attention._modules["wo"], feed.joined, feed._modules["w2"] = products
    return made


def _with_own_parts(module: Any) -> Any:
    """A copy that shares everything with the module but the lists of its parts."""
    made = copy.copy(module)
    made._modules, made._parameters = dict(module._modules), dict(module._parameters)
    return made
