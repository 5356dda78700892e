"""Passes of a trunk whose every position has the same bits whatever else is in the pass, as far as a probe finds."""

import math
import operator
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.slot_attention import Company, SlotPass
from vidjacobi.families.slot_cache import SlotCache
from vidjacobi.families.trunk import Hidden, Trunk
from vidjacobi.families.twins import activations, heads_of, is_known, linears, rotaries, twin, without
from vidjacobi.invariance import PLAIN, USUAL, PassShape, Sizes, hidden, pass_shape, stacked
from vidjacobi.models.contents import traces
from vidjacobi.runtime import attend, refuse_autocast
from vidjacobi.shapes import Logits, Slots, Tokens

# Of the probe of a layer: its rows, passes of clips and positions, and the places that they are told at most.
ROWS, CASES, FAR = 256, ((1, 1), (1, 2), (1, 3), (1, 17), (1, 65), (1, 255), (3, 5)), 4096
Kind = tuple[str, tuple[int, ...]]  # of an activation, and the columns that it may be given
Setting = tuple[torch.dtype, torch.device, int, PassShape]
# What was found of a network, by its first layer: trunks are made anew for every batch of prompts.
_FOUND: "WeakKeyDictionary[nn.Module, dict[tuple[Setting, frozenset[Kind]], bool]]" = WeakKeyDictionary()


class Passes:
    """A trunk's layers, embeddings and head, in passes that are padded as ``settle`` found.

    Args:
        trunk: the network. Nothing of it is changed but the order in memory of linear weights, in float32 and float64
            on a CPU (``vidjacobi.invariance.by_inputs``).
        one_layer: leave all layers out but the first, for a probe.

    Attributes:
        shape: what passes are padded to; nothing before ``settle``.
    """

    def __init__(self, trunk: Trunk, one_layer: bool = False) -> None:
        self.trunk, self.shape = trunk, PLAIN
        own = (without(trunk.layers, trunk.unused), trunk.embed, trunk.head)
        self._known = all(isinstance(part, nn.Module) and is_known(part) for part in own)
        cut = trunk.depth if one_layer else None
        made: list[Any] = [twin(part, cut) if isinstance(part, nn.Module) else part for part in own]
        self._layers, self._embed, self._head = made
        twins = [part for part in made if isinstance(part, nn.Module)]
        self._linears, self._activations = list(linears(*twins)), list(activations(*twins))
        self._heads = heads_of(trunk.config)
        self._modules = [] if one_layer else self._modules_now()
        self._weights = traces(self._modules)

    def settle(self) -> PassShape:
        """Find the padding with which passes are width-invariant; each setting is probed once.

        Where none is found passes are not padded. Where there are no numbers they are padded as processors usually
        need it. Raises InvalidArgument where the network is not what it was: the embeddings of prompts, and the rows
        of a head, were taken from it then. Also in ``torch.autocast``.
        """
        refuse_autocast(self.trunk.device)
        now = self._modules_now()
        same = len(now) == len(self._modules) and all(map(operator.is_, now, self._modules))
        if not same or traces(now) != self._weights:
            raise InvalidArgument(
                "the network was trained, loaded, cast or rebuilt since this model was made of it, with its prompts: "
                "make the model again"
            )
        device, dtype, threads = self.trunk.device, self.trunk.dtype, torch.get_num_threads()
        if device.type == "meta":
            return self.adopt(USUAL)
        for part in self._linears:
            part.store()
        found = pass_shape(self._sizes(), dtype, device, threads, attend) if self._known else PLAIN
        return self.adopt(found if self._holds((dtype, device, threads, found)) else PLAIN)

    def _modules_now(self) -> list[nn.Module]:
        """All of the network's own, with the head that some rows were taken from."""
        trunk = self.trunk
        parts = (part for part in (trunk.layers, trunk.embed, trunk.head) if isinstance(part, nn.Module))
        named = (pair for part in parts for pair in part.named_modules())
        found = [one for name, one in named if name.split(".")[0] not in trunk.unused]
        return [*found, *(one for part in found for one in vars(part).get("rows_of", ()))]

    def adopt(self, shape: PassShape) -> PassShape:
        """Pad passes in this way from now on."""
        self.shape = shape
        for part in self._linears:
            part.most = shape.most_of(*part.sizes)
        for activation in self._activations if shape.invariant else ():
            activation.settle(self.trunk.dtype, self.trunk.device, torch.get_num_threads())
        return shape

    def embed(self, tokens: Tokens) -> Hidden:
        """Embeddings of cells."""
        b, n = tokens.shape
        return self._embed(F.pad(tokens, (0, self.shape.padding(b, n))))[:, :n]

    def head(self, states: Hidden) -> Logits:
        """Logits of hidden states."""
        b, n = states.shape[:2]
        return self._head(F.pad(states, (0, 0, 0, self.shape.padding(b, n))))[:, :n]

    def run(
        self,
        embeds: Hidden,
        places: Int[Tensor, "*k b n"],
        seen: Bool[Tensor, "b n a"],
        where: Slots,
        entries: SlotCache,
        company: Company | None = None,
    ) -> Hidden:
        """Hidden states of one pass over the layers.

        Args:
            embeds, places: of each input: its embedding, and what it tells the rotary embedding.
            seen: the slots that each input reads, but for those of itself and its company.
            where: the slots that entries are written to.
            company: of the inputs that are riders.
        """
        b, n = embeds.shape[:2]
        more, length = self.shape.padding(b, n), self.shape.length(seen.shape[-1])
        mask = stacked(hidden(seen, n + more, length, embeds.dtype), self._heads[1])
        entries.aim(where)
        made = self._layers(
            inputs_embeds=F.pad(embeds, (0, 0, 0, more)),
            position_ids=F.pad(places, (0, more)),
            attention_mask=mask,
            past_key_values=entries,
            use_cache=True,
            slots=SlotPass(entries, length, company, self.shape.queries),
        )
        return made.last_hidden_state[:, :n]

    def _sizes(self) -> Sizes:
        plain, turned = (
            tuple(sorted({part.sizes for part in self._linears if part.turned == way}, key=math.prod))
            for way in (False, True)
        )
        return Sizes(plain, *self._heads, turned)

    def _holds(self, setting: Setting) -> bool:
        """Whether all but products and attention is invariant too."""
        first, (dtype, device, _, shape) = self.trunk.first_layer, setting
        if first is None or not shape.invariant:
            return False
        key = setting, frozenset(part.kind for part in self._activations)
        found = _FOUND.setdefault(first, {})
        if key not in found:
            # by its kind: the activations of all layers are alike
            kinds = {part.kind: part for part in self._activations}
            found[key] = all(part.is_invariant(dtype, device) for part in kinds.values())
            found[key] = found[key] and layer_is_invariant(self.trunk, shape)
        return found[key]


@torch.no_grad()
def layer_is_invariant(trunk: Trunk, shape: PassShape) -> bool:
    """Whether rows of a network's first layer, and rotary angles, have the same numbers in passes of some sizes.

    No input sees another one: what attention reads has a probe of its own.
    """
    passes = Passes(trunk, one_layer=True)
    passes.adopt(shape)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(ROWS, trunk.config.hidden_size, generator=generator).to(trunk.device, trunk.dtype)
    angles = list(rotaries(trunk.layers))
    known = (
        getattr(part, "places", None) or trunk.config.max_position_embeddings for part in (trunk, *angles)
    )
    far = min(FAR, *known)
    places = torch.randint(0, far, (ROWS,), generator=generator).to(trunk.device)

    def run(clips: int, count: int) -> list[Tensor]:
        first = slice(clips * count)
        embeds, told = (part[first].unflatten(0, (clips, count)) for part in (rows, places))
        entries = SlotCache(trunk.depth, clips, shape.length(ROWS))
        slots = torch.arange(count, device=trunk.device).expand(clips, -1)
        seen = torch.zeros(clips, count, 1, dtype=torch.bool, device=trunk.device)
        states = passes.run(embeds, told, seen, slots, entries)
        layer = entries.layers[0]
        kept = (part[:, :, :count].transpose(1, 2) for part in (layer.keys, layer.values))
        return [part.flatten(0, 1) for part in (states, *kept)]

    wanted = run(1, ROWS)
    for clips, count in CASES:
        for found, whole in zip(run(clips, count), wanted, strict=True):
            if not torch.equal(found, whole[: len(found)]):
                return False
    return all(angles_are_invariant(part, rows[:1, None], places) for part in angles)


def angles_are_invariant(rotary: nn.Module, like: Hidden, places: Int[Tensor, " r"]) -> bool:
    """Whether a place has the same cosine and sine beside any number of others."""
    one_by_one = [rotary(like, place.view(1, 1)) for place in places]
    wanted = [torch.cat(parts, 1) for parts in zip(*one_by_one, strict=True)]
    for _, count in CASES:
        for found, whole in zip(rotary(like, places[None, :count]), wanted, strict=True):
            if not torch.equal(found, whole[:, :count]):
                return False
    return True
