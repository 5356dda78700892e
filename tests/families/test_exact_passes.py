"""Passes of families have the same bits in any window, batch and slot, and so `pathwise` decides AR's very tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tiny_nets as nets
import torch
from test_against_generate import EMU3_NEGATIVE, EMU3_PROMPT, LUMINA
from tiny_nets import EMU3, EMU3_FIRST
from tiny_pictures import write_llamagen
from tiny_riders import condition, rider_model, tiny_trunk
from torch import Tensor, nn

import vidjacobi
from cosmos_adapter.transformer.model import CosmosModel
from tests.cosmos_adapter.tiny_cosmos import tiny_network
from vidjacobi import Grid, SamplingParams
from vidjacobi.config.decoder import load_decoder
from vidjacobi.decoding.recipe import BITWISE, ROUNDED, in_buckets
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import slot_attention
from vidjacobi.families.chameleon import Chameleon
from vidjacobi.families.emu3 import Emu3
from vidjacobi.families.emu3_layouts import Emu3Tokens, Order
from vidjacobi.families.glm_image import GlmImage
from vidjacobi.families.imagegpt import ImageGPT
from vidjacobi.families.ivideogpt import IVideoGPT
from vidjacobi.families.janus import Janus
from vidjacobi.families.layout import after_rows
from vidjacobi.families.mineworld import MineWorld
from vidjacobi.families.model import RiderModel
from vidjacobi.families.passes import Passes
from vidjacobi.families.simplear import SimpleAR
from vidjacobi.invariance import PLAIN
from vidjacobi.models.protocol import ExactModel

pytestmark = pytest.mark.unchecked
DTYPES = (torch.float32, torch.bfloat16)
ROWS = Order(EMU3["eol"], None, EMU3_FIRST)
Builder = Callable[[torch.dtype], RiderModel]


def mineworld(dtype: torch.dtype) -> RiderModel:
    """Three riders behind each frame, and no prompt."""
    torch.manual_seed(0)
    family = MineWorld(tiny_trunk(dtype=dtype).layers, nn.Linear(32, 60, bias=False).to(dtype), (2, 3), 40)
    return family.world([torch.tensor([[41 + row, 50, 51], [43, 52, 53 + row]]) for row in range(3)])


def ivideogpt(dtype: torch.dtype) -> RiderModel:
    torch.manual_seed(0)
    layers = tiny_trunk(dtype=dtype).layers
    actions = {"weight": torch.randn(32, 2).to(dtype), "bias": torch.zeros(32, dtype=dtype)}
    family = IVideoGPT(layers, nn.Linear(32, 58, bias=False).to(dtype), actions)
    return family.acted(torch.tensor([[3, 4, 57]] * 3), torch.randn(3, 2, 2))


def llamagen(dtype: torch.dtype) -> RiderModel:
    """Places of the class have neither cosine nor sine."""
    with TemporaryDirectory() as folder:
        name = write_llamagen(Path(folder), "class")
        model = vidjacobi.load_family(name, "cpu", str(dtype).removeprefix("torch.")).of_classes(
            [1, 2, 3], 1.0
        )
    assert isinstance(model, RiderModel)
    return model


def long(dtype: torch.dtype) -> RiderModel:
    """Two blocks of slots, and a prompt that is longer than the room that all caches have."""
    cells = after_rows(Grid(1, 20, 30), 1)
    conditions = [condition(cells, prompt, seed, 0.3) for seed, prompt in enumerate((3, 200, 9))]
    return RiderModel(tiny_trunk(dtype=dtype), Grid(1, 20, 30), cells, conditions)


def bundled(dtype: torch.dtype) -> RiderModel:
    family = vidjacobi.load_family("nano-image", "cpu", str(dtype).removeprefix("torch."))
    model = family.of_classes([0, 1, 2], 1.0)
    assert isinstance(model, RiderModel)
    return model


def of(build: Callable[[], Any], wrap: Callable[[Any], Any]) -> Builder:
    return lambda dtype: wrap(build().to(dtype))


PROMPTS = [[1, 5, 6], [1, 7, 8, 9, 10, 11], [1, 2]]
BUILDERS: dict[str, Builder] = {
    "riders": lambda dtype: rider_model(3, 5, 2, dtype=dtype),
    "janus": of(
        nets.janus,
        lambda net: Janus(net).images(
            [[*p, nets.IMAGE] for p in PROMPTS], nets.BEGIN, nets.IMAGE, nets.PAD, 1.0
        ),
    ),
    "emu3": of(nets.emu3, lambda net: Emu3(net).images([EMU3_PROMPT, EMU3_NEGATIVE, EMU3_PROMPT[1:]], 4, 5)),
    "lumina": of(
        nets.chameleon, lambda net: Chameleon(net, **LUMINA).images([[0, 50], [0], [0, 3, 5]], 91, 4, 6, 1.0)
    ),
    "chameleon": of(nets.chameleon, lambda net: Chameleon(net).text(PROMPTS, 20)),
    "simplear": of(nets.qwen2, lambda net: SimpleAR(net, nets.SIMPLEAR_FIRST).images(PROMPTS, 4)),
    "glm_image": of(
        nets.glm_image, lambda net: GlmImage(net).images([[*p, 91] for p in PROMPTS], (2, 2), (4, 4))
    ),
    "emu3_5": of(nets.qwen3, lambda net: Emu3Tokens(net, ROWS).clips(PROMPTS, 1, 4, 5)),
    "imagegpt": of(nets.imagegpt, lambda net: ImageGPT(net).images()),
    "mineworld": mineworld,
    "ivideogpt": ivideogpt,
    "llamagen": llamagen,
    "gpt2": lambda dtype: rider_model(3, 5, 2, style="gpt2", dtype=dtype),
}


FAST = ("riders", "simplear", "gpt2", "janus")
SLOW = {name: pytest.mark.slow for name in BUILDERS if name not in FAST}


def clips_of(model: RiderModel, rows: int = 3) -> Tensor:
    tokens = torch.randint(
        0, model.vocab_size, (rows, model.max_positions), generator=torch.Generator().manual_seed(5)
    )
    tokens[:, : len(model.prefix_tokens)] = torch.tensor(model.prefix_tokens)
    return tokens


def given(model: RiderModel, rows: list[int]) -> list[Any]:
    own = model.conditions
    return [own[row if len(own) > 1 else 0] for row in rows]


def logits_of(model: RiderModel, rows: list[int], width: int, first: int = 1) -> Tensor:
    """Behind each position, teacher-forced: ``first`` positions by the prefill, the rest in windows of ``width``."""
    clips = clips_of(model)[rows]
    n = clips.shape[1] - 1  # the last cell is never fed
    cache = model.make_cache(len(rows), in_buckets(n) + 65)
    model.set_conditions(cache, given(model, rows))
    found = list(model.prefill(clips[:, :first], cache, first))
    for begin in range(first, n, width):
        positions = torch.arange(begin, min(begin + width, n)).expand(len(rows), -1)
        visible = torch.arange(in_buckets(n)) <= positions.unsqueeze(-1)
        found.append(model.forward(clips.gather(1, positions), positions, positions, visible, cache))
    return torch.cat(found, 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in BUILDERS])
def test_logits_do_not_depend_on_the_pass(name: str, dtype: torch.dtype) -> None:
    model = BUILDERS[name](dtype)
    assert isinstance(model, ExactModel)
    if not model.bitwise:
        pytest.skip(f"{name} in {dtype}: {model.padding}")
    for row in range(3):
        wanted = logits_of(model, [row], 1)[0]
        assert wanted.isfinite().all()
        for rows, width, first in (
            ([row], 5, 1),
            ([row], 16, 7),
            ([row], 1, len(wanted)),
            ([2, row, 0], 5, 4),
        ):
            found = logits_of(model, rows, width, first)[len(rows) // 2]
            assert torch.equal(found, wanted), (row, rows, width, first)


def with_siblings(decoder: str = "pathwise") -> Any:
    return replace(load_decoder(decoder), draft_tree={"depth": 3, "width": 4})


def decoded(model: RiderModel, rows: list[int], decoder: Any, window: int, seed: int) -> Tensor:
    sampling = SamplingParams(temperature=1.0, top_p=0.95, seed=seed)
    special = len(model.prefix_tokens)
    contexts, names = clips_of(model)[rows, : max(1, special)], [str(row) for row in rows]
    count = model.max_positions - contexts.shape[1]
    found = vidjacobi.decode(
        model, contexts, count, decoder, window, sampling, names, conditions=given(model, rows)
    )
    promised = BITWISE if model.bitwise else ROUNDED
    assert found.stats.guarantee == promised
    return found.tokens


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", BUILDERS)
def test_pathwise_decides_the_very_tokens_of_ar(name: str, dtype: torch.dtype) -> None:
    """Alone and in a batch of three prompts, with siblings."""
    model = BUILDERS[name](dtype)
    wanted = decoded(model, [0, 1, 2], "ar", 1, 3)
    for rows, window in (([0], 1), ([2, 0, 1], 5), ([1], 16), ([1, 2, 0], 16)):
        found = decoded(model, rows, with_siblings(), window, 3)
        assert torch.equal(found, wanted[rows]), (rows, window)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_long_clips_beside_a_long_prompt(dtype: torch.dtype) -> None:
    """More slots than a block; the batch has room for other prompts than the clip has alone."""
    model = long(dtype)
    wanted = logits_of(model, [0], 64)[0]
    for rows, width, first in (([0], 16, 300), ([2, 0, 1], 64, 1)):
        assert torch.equal(logits_of(model, rows, width, first)[len(rows) // 2], wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_siblings_and_their_riders_may_be_moved(dtype: torch.dtype) -> None:
    """A cell with riders is fed at a slot after the clip, among others, and moved: nothing tells."""
    model = rider_model(3, 5, 2, dtype=dtype)
    clips, end = clips_of(model)[:1], 13  # behind the first frame and the first row of the second one
    assert model.conditions[0].layout.riders[6] == 3
    wanted = logits_of(model, [0], 1)[:, 6:end]
    cache = model.make_cache(1, 129)
    model.set_conditions(cache, model.conditions[:1])
    list(model.prefill(clips[:, :6], cache, 1))
    positions = torch.tensor([[6, 6, 6, 7]])
    slots = torch.tensor([[6, 70, 75, 7]])
    tokens = torch.stack([clips[:, 6] * 0, clips[:, 6], clips[:, 6] * 0 + 1, clips[:, 7]], 1)
    visible = (torch.arange(128) < 6) | (torch.arange(128) == slots[..., None])
    found = [model.forward(tokens, positions, slots, visible, cache)[:, 1:2]]
    model.move(cache, torch.tensor([[70]]), torch.tensor([[6]]))
    for place in range(7, end):
        here = torch.tensor([[place]])
        visible = torch.arange(64) <= here[..., None]
        found.append(model.forward(clips[:, place : place + 1], here, here, visible, cache))
    assert torch.equal(torch.cat(found, 1), wanted)


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_attention_in_pieces(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every input's own queries and mask: in double precision nothing else is to be seen."""
    model = rider_model(3, 5, 2, style=style)
    wanted = logits_of(model, [2, 0, 1], 16)
    real, seen = slot_attention.attend, []

    def counted(queries: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(queries.shape[2])
        return real(queries, *others)

    monkeypatch.setattr(slot_attention, "attend", counted)
    shape = model.passes.settle()
    monkeypatch.setattr(Passes, "settle", lambda self: self.adopt(replace(shape, queries=6)))
    found = logits_of(model, [2, 0, 1], 16)
    assert max(seen) == 6
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def unpadded(self: Passes) -> Any:
    return self.adopt(PLAIN)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nano_image_and_without_padding(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole pictures in wide passes; and the control, passes of whatever size comes, which say so."""

    def differs() -> bool:
        # as the prefill feeds them, and beside others in windows (of 45 all bits are the same on some processors)
        return not torch.equal(logits_of(model, [0], 1, 320)[0], logits_of(model, [1, 0, 1], 7, 3)[1])

    model = bundled(dtype)
    if model.bitwise:
        assert not differs()
    monkeypatch.setattr(Passes, "settle", unpadded)
    model = bundled(dtype)
    assert not model.bitwise
    assert differs()


def test_what_no_probe_can_know_is_not_promised() -> None:
    """A head that is no module, and one whose products are its own."""
    trunk = tiny_trunk(dtype=torch.float32)
    own = nn.Module()
    own.weight = nn.Parameter(torch.zeros(2, 2))
    assert Passes(trunk).settle().invariant
    assert Passes(replace(trunk, head=trunk.head.forward)).settle() == PLAIN
    assert Passes(replace(trunk, embed=nn.Sequential(trunk.embed, own))).settle() == PLAIN


def test_a_layer_that_looks_at_its_neighbours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an activation with other numbers in some rows."""
    trunk = tiny_trunk(dtype=torch.float32)
    norm = type(trunk.layers.layers[0].input_layernorm)
    real = norm.forward
    monkeypatch.setattr(norm, "forward", lambda self, x: real(self, x) + x.shape[1] * 1e-6)
    assert Passes(tiny_trunk(dtype=torch.float32)).settle() == PLAIN
    monkeypatch.undo()
    gpt2 = tiny_trunk(dtype=torch.float32, style="gpt2")
    act = type(gpt2.layers.network.h[0].mlp.act)
    plain = act.forward
    monkeypatch.setattr(act, "forward", lambda self, x: plain(self, x) + len(x) * 1e-6)
    assert Passes(tiny_trunk(dtype=torch.float32, style="gpt2")).settle() == PLAIN


def test_the_network_is_left_as_it_is() -> None:
    """It generates with its own attention and its own modules, and its weights are those of the passes."""
    network = nets.qwen2().float()
    before = {name: part.clone() for name, part in network.state_dict().items()}
    ids = torch.tensor([[1, 5, 6]])
    wanted = network.generate(ids, max_new_tokens=5, do_sample=False)
    model = SimpleAR(network, nets.SIMPLEAR_FIRST).images([[1, 5, 6]], 4)
    first = decoded(model, [0], "ar", 1, 0)
    assert network.config._attn_implementation == "sdpa"
    assert {
        name for name, part in before.items() if not torch.equal(part, network.state_dict()[name])
    } == set()
    assert torch.equal(network.generate(ids, max_new_tokens=5, do_sample=False), wanted)
    with torch.no_grad():
        network.model.layers[0].mlp.up_proj.weight.mul_(-3)
    again = SimpleAR(network.train(), nets.SIMPLEAR_FIRST).images([[1, 5, 6]], 4)
    assert not torch.equal(decoded(again, [0], "ar", 1, 0), first)
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize("how", ["data", "head", "cast", "rebuilt"])
def test_a_network_that_has_changed_is_refused(how: str) -> None:
    """Prompts are embedded, and rows of the head taken, when the model is made of the network."""
    network = nets.emu3().float()
    model = Emu3(network).images([EMU3_PROMPT], 4, 5)
    layer = network.model.text_model.layers[0]
    if how == "data":
        layer.mlp.up_proj.weight.data.mul_(-3)
    elif how == "head":
        network.lm_head.weight = nn.Parameter(-network.lm_head.weight)
    elif how == "cast":
        network.bfloat16()
    else:
        layer.mlp.up_proj = nn.Sequential(layer.mlp.up_proj)
    with pytest.raises(InvalidArgument, match="make the model again"):
        decoded(model, [0], "ar", 1, 0)


@pytest.mark.parametrize(
    "build", [lambda: CosmosModel(tiny_network()), lambda: rider_model(3)], ids=["cosmos", "riders"]
)
def test_autocast_is_refused(build: Callable[[], Any]) -> None:
    """Its products are in another dtype than those that were probed: they were said to be bitwise."""
    model = build()
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(InvalidArgument, match="autocast is on"):
        model.make_cache(1, 8)
    model.make_cache(1, 8)
