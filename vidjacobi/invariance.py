"""Passes whose every position has the same bits whatever else is in the pass: what that takes, and a probe for it.

A matrix product of 5 rows may sum in another order than one of 4 rows, and attention over 700 slots in another order
than over 704. Logits then differ in their last bits, and now and then a token does. Passes of a shape that suits the
kernels do not: rows and slots are padded until every row is summed in one order. Which padding does depends on the
processor, its libraries, the dtype and the sizes, so it is probed and not assumed.

**Zero-sum probes.** The weights of a probe are [u, -u'] and its input is [v, v'], where u' and v' are u and v in
another order. The exact result is 0, so all that comes out is rounding noise, and any other order of summation shows,
after rounding to bfloat16 too. With plain random numbers most differences would be rounded away.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

# Sizes that cross the borders of blocks: 4, 16, 32, 64, 96, 128, 192 and 256 rows.
COUNTS = (1, 2, 3, 5, 7, 9, 17, 31, 33, 65, 97, 129, 193, 256)
PREFIXES = (700, 960)  # slots that the probed queries see, more than one block
ASKED = 512  # queries of a head that attention is probed with
MANY = 256  # rows of a product at most, even where nothing differs: more were not probed
# (a pass has a multiple of so many rows, a matrix product at most so many), the cheapest first.
ROWS = ((1, MANY), (2, MANY), (4, MANY), (8, MANY))
# Where none of these holds, products of fewer rows. A CPU pays for padded rows, a GPU for the number of products.
PIECES = ((1, 32), (16, 16), (64, 64), (128, 128))
POSITIONS = (1, 2, 4, 8)
QUERIES = (0, 128, 32)  # rows of queries that attention is asked for at once, 0: all of a pass
# Attention of a CPU sums in blocks of 512 slots. A last block that is shorter may be cut in other parts, which
# depends on how short it is and on how much of it is seen: no few probes can tell that it never is. So all are whole.
BLOCK = 512


@dataclass(frozen=True)
class PassShape:
    """What the sizes of a pass are padded to, so that its numbers do not depend on them.

    Attributes:
        rows: clips times positions of a pass are a multiple of it.
        most: rows of a matrix product; one of more rows is cut. 0: none is cut.
        wide: (inputs, outputs) of the products that may have ``MANY`` rows all the same.
        positions: the positions of a clip are a multiple of it.
        slots: the cache slots that attention reads are a multiple of it.
        queries: rows of a call of attention, positions times query heads of a group; more are cut. 0: none are.
        plain_silu: whether PyTorch's own SiLU gives a row the same bits at any place.
        invariant: whether a probe found that this is enough.
    """

    rows: int = 1
    most: int = 0
    positions: int = 1
    slots: int = 64
    queries: int = 0
    wide: tuple[tuple[int, int], ...] = ()
    plain_silu: bool = True
    invariant: bool = False

    def __str__(self) -> str:
        if not self.invariant:
            return "no padding helps: the sums of a row depend on what else is in the pass"
        some = f" ({MANY} in {len(self.wide)} of the sizes)" if self.wide else ""
        cut = f", attention in pieces of at most {self.queries} query rows" if self.queries else ""
        return (
            f"rows of a pass in multiples of {self.rows}, at most {self.most} in a product{some}, positions of a "
            f"clip in multiples of {self.positions}, cache slots in blocks of {self.slots}{cut}"
        )

    def most_of(self, inputs: int, outputs: int) -> int:
        """Rows of a product of these sizes at most."""
        return MANY if (inputs, outputs) in self.wide else self.most

    def padding(self, clips: int, positions: int) -> int:
        """Positions to add to each of ``clips`` clips."""
        # 3 clips and rows in fours: positions in fours. 2 clips: positions in twos make fours already.
        step = math.lcm(self.positions, self.rows // math.gcd(clips, self.rows))
        return -positions % step

    def length(self, slots: int) -> int:
        """Slots to read, or to make, where ``slots`` are wanted."""
        return -(-slots // self.slots) * self.slots


PLAIN = PassShape()
USUAL = PassShape(rows=4, most=256, positions=1, slots=BLOCK)  # what probes found, for estimates


@dataclass(frozen=True)
class Sizes:
    """What a probe has to know of a model: (inputs, outputs) of its products, the cheapest first, and its heads."""

    products: tuple[tuple[int, int], ...]
    kv_heads: int
    group: int
    head_size: int
    turned: tuple[tuple[int, int], ...] = ()  # of weights that lie input by input in any dtype
    gates: tuple[int, ...] = ()  # columns of which it computes SiLU; none: the outputs of any product


@lru_cache(maxsize=64)
def pass_shape(
    sizes: Sizes, dtype: torch.dtype, device: torch.device, threads: int, attend: Attend
) -> PassShape:
    """The cheapest padding with which passes of a model of these sizes are width-invariant; PLAIN where none is.

    ``threads`` only tells settings apart: torch's own number is used. ``attend`` is called as ``runtime.attend``.
    """
    with torch.no_grad():
        left = [PassShape(*rows) for rows in (*ROWS, *PIECES[:: 1 if device.type == "cpu" else -1])]
        agreed, where = 0, (dtype, device)
        sized = [*((size, False) for size in sizes.products), *((size, True) for size in sizes.turned)]
        for size, way in cycle(sized):
            while left and not product_is_invariant(left[0], *size, *where, way):
                left, agreed = left[1:], 0
            agreed += 1  # products in a row for which the first one left holds
            if not left or agreed == len(sized):
                break
        products = left[0] if left else PLAIN
        if 0 < products.most < MANY:
            loose = replace(products, most=MANY)
            bad = {size for size, way in sized if not product_is_invariant(loose, *size, *where, way)}
            products = replace(products, wide=tuple(size for size, _ in sized if size not in bad))
        shapes = (replace(products, positions=n, slots=BLOCK, queries=q) for q in QUERIES for n in POSITIONS)
        held = (shape for shape in shapes if attention_is_invariant(shape, sizes, *where, attend))
        found = next(held, PLAIN) if products.most else PLAIN
        # SiLU is computed in float32 at least: in bfloat16 a difference shows too rarely to be found by a probe
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        gates = sizes.gates or [size for _, size in sizes.products]
        same = all(silu_is_invariant(size, wide, device) for size in gates)
    return replace(found, plain_silu=same, invariant=True) if found.most else PLAIN


def zero_sum(
    outputs: int, inputs: int, generator: torch.Generator, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "o i"], Float[Tensor, " i"]]:
    """A matrix and a vector whose product is exactly 0 in every row, but for rounding."""
    half = inputs // 2
    order = torch.randperm(half, generator=generator)
    # only the first 1,024 rows of a vocabulary differ: kernels choose by size, not by content
    u = torch.randn(min(outputs, 1024), half, generator=generator).mul_(0.02)
    v = torch.randn(half, generator=generator)
    one = torch.cat([u, -u[:, order], torch.zeros(len(u), inputs - 2 * half)], 1)
    vector = torch.zeros(inputs)
    vector[:half], vector[half : 2 * half] = v, v[order]
    whole = one.to(device, dtype).repeat(-(-outputs // len(u)), 1)[:outputs].contiguous()
    return by_inputs(whole), vector.to(device, dtype)


def by_inputs(weight: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
    """The same matrix, stored input by input where that makes its products faster (docs/log/exact.md)."""
    wide = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
    return weight.t().contiguous().t() if wide and weight.stride(0) != 1 else weight


def in_pieces(
    attend: Attend, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """``attend`` by calls of at most ``most`` rows of queries (0: of any number)."""
    if not most or queries.shape[2] <= most:
        return attend(queries, keys, values, mask)
    pieces = zip(queries.split(most, 2), mask.split(most, 2), strict=True)
    mixed, norms = zip(*(attend(some, keys, values, seen) for some, seen in pieces), strict=True)
    return torch.cat(mixed, 2), torch.cat(norms, 2)


def product(x: Float[Tensor, "... c"], weight: Float[Tensor, "o c"], most: int) -> Float[Tensor, "... o"]:
    """x times the transposed weight, in products of at most ``most`` rows (0: of any number)."""
    flat, turned = x.reshape(-1, x.shape[-1]), weight.t()
    if most and len(flat) > most:
        return torch.cat([torch.mm(part, turned) for part in flat.split(most)]).view(*x.shape[:-1], -1)
    # mm itself: F.linear comes to the same by way of matmul, which costs a CPU more than a small product
    return torch.mm(flat, turned).view(*x.shape[:-1], -1)


def product_is_invariant(
    shape: PassShape, inputs: int, outputs: int, dtype: torch.dtype, device: torch.device, turn: bool = False
) -> bool:
    """Whether a row of a product has the same bits in any number of rows and at any place among them."""
    generator = torch.Generator().manual_seed(0)
    weight, row = zero_sum(outputs, inputs, generator, dtype, device)
    weight = weight.t().contiguous().t() if turn else weight
    others = torch.randn(256, inputs, generator=generator).to(device, dtype)
    counts = sorted({count + shape.padding(1, count) for count in (*COUNTS, shape.most)})
    wanted = None
    for count in filter(lambda rows: rows <= shape.most, counts):
        places = sorted({0, 1, count // 2, count - 2, count - 1} & set(range(count)))
        x = others[:count].clone()
        x[places] = row
        found = product(x, weight, shape.most)[places]
        wanted = found[:1] if wanted is None else wanted
        if not torch.equal(found, wanted.expand_as(found)):
            return False
    return True


def silu_is_invariant(columns: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a row of SiLU, or the first half of a longer one, has the same bits beside any number of others."""
    # The kernel has another exp in the tail of a vector and of each thread's share.
    rows, generator = max(COUNTS), torch.Generator().manual_seed(0)
    halves = 4 * torch.randn(rows, 2 * columns, generator=generator).to(device, dtype)[:, :columns]
    wanted = torch.cat([F.silu(row) for row in halves.split(1)])
    found = [F.silu(some[:count]) for some in (halves, halves.contiguous()) for count in COUNTS]
    return all(torch.equal(one, wanted[: len(one)]) for one in found)


def attention_is_invariant(
    shape: PassShape, sizes: Sizes, dtype: torch.dtype, device: torch.device, attend: Attend
) -> bool:
    """Whether a query has the same bits among any number of queries and clips, whatever length is read."""
    for prefix in PREFIXES:
        probe = AttentionProbe(shape, sizes, prefix, dtype, device, attend)
        wanted = probe.run(1, ASKED, 0, 0)
        for clips, count, blocks, first in probe.cases():
            found = probe.run(clips, count, blocks, first)
            if not torch.equal(found, wanted[:, :, :, probe.asked(count, first)].expand_as(found)):
                return False
    return True


@dataclass
class AttentionProbe:
    """Queries of which every other one sees ``prefix`` slots, whose values sum to 0, and the rest fewer or more.

    Scores do not cancel out: another order of their sums shows in the log-sum-exp of every eighth query or so, and
    in nothing else (heads of 40 to 80 numbers with AMX). So many queries are compared, in passes of few too.
    """

    shape: PassShape
    sizes: Sizes
    prefix: int
    dtype: torch.dtype
    device: torch.device
    attend: Attend

    def __post_init__(self) -> None:
        self.least, generator = self.shape.length(self.prefix), torch.Generator().manual_seed(0)
        half, heads, size = self.prefix // 2, self.sizes.kv_heads, self.sizes.head_size
        order, longest = torch.randperm(half, generator=generator), self.least + 2 * self.shape.slots

        def entries(sign: int) -> Tensor:
            some = torch.randn(1, heads, longest, size, generator=generator)
            some[:, :, half : self.prefix] = sign * some[:, :, :half][:, :, order]
            return some.to(self.device, self.dtype)

        # Equal keys, opposite values: the weights of two slots are equal and what they bring adds up to 0.
        self.keys, self.values = entries(1), entries(-1)
        queries = torch.randn(1, heads, self.sizes.group, ASKED, size, generator=generator)
        self.queries = queries.to(self.device, self.dtype)
        self.seen = (torch.arange(ASKED, device=self.device) + self.prefix - ASKED // 2).clamp(max=self.least)
        self.seen[::2] = self.prefix

    def cases(self) -> Iterator[tuple[int, int, int, int]]:
        """(clips, positions, blocks of slots beyond the fewest, the first of the queries)."""
        # where queries are cut, the last piece has any number of rows
        counts = (*COUNTS, *range(1, 33)) if self.shape.queries else COUNTS
        for count in sorted({count + self.shape.padding(1, count) for count in counts}):
            yield from ((1, count, 0, first) for first in range(1, max(2, 64 // count)))
            if count < 20:
                yield from ((1, count, blocks, 0) for blocks in (1, 2))
        for clips in (2, 3, 4):
            yield clips, 5 + self.shape.padding(clips, 5), 0, 0

    def asked(self, count: int, first: int) -> Int[Tensor, " n"]:
        """Which queries a pass of ``count`` has: other ones than its neighbour, and at other places."""
        return (torch.arange(count, device=self.device) + first * (2 * count + 1)) % ASKED

    def run(self, clips: int, count: int, blocks: int, first: int) -> Float[Tensor, "b k g n e"]:
        """Mixed values and log-sum-exp together."""
        rows, length = self.asked(count, first), self.least + blocks * self.shape.slots
        visible = (torch.arange(length, device=self.device) < self.seen[rows].unsqueeze(1)).unsqueeze(0)
        mask = stacked(hidden(visible, count, length, self.dtype), self.sizes.group)
        folded, slots = self.queries[:, :, :, rows].flatten(2, 3), slice(length)
        given = folded, self.keys[:, :, slots], self.values[:, :, slots], mask
        folded, keys, values, mask = (part.expand(clips, -1, -1, -1) for part in given)
        mixed, norm = in_pieces(self.attend, folded, keys, values, mask, self.shape.queries)
        return torch.cat([mixed.to(norm.dtype), norm.unsqueeze(-1)], -1).unflatten(2, (-1, count))


def hidden(
    visible: Bool[Tensor, "b n l"], rows: int, length: int, dtype: torch.dtype
) -> Float[Tensor, "b r m"]:
    """A mask to add to scores, of ``rows >= n`` and ``length >= l``: 0 where an input may read a slot."""
    # elsewhere the lowest finite number instead of -inf: the softmax of an input that sees nothing is finite
    b, n, slots = visible.shape
    mask = visible.new_full((b, rows, length), lowest := torch.finfo(dtype).min, dtype=dtype)
    mask[:, :n, :slots].copy_(visible).sub_(1).mul_(-lowest)  # a CPU takes longer to fill where a mask holds
    return mask


def stacked(mask: Float[Tensor, "b r m"], group: int) -> Float[Tensor, "b 1 q m"]:
    """The mask's rows once for each query head of a group."""
    # Inputs 0 1 2 and a group of 2 query heads: rows 0 1 2 0 1 2, in the order in which attention stacks queries.
    return mask.unsqueeze(1).expand(-1, group, -1, -1).flatten(1, 2).unsqueeze(1)
