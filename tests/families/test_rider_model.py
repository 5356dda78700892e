"""The adapter against plain full sequences, and every decoder on it against AR."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_riders import GRID, STYLES, VOCAB, condition, plain_logits, rider_model, tiny_trunk
from torch import Tensor

import vidjacobi
from vidjacobi import Grid, Guided, SamplingParams
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.compiled import compiled
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import model as model_module
from vidjacobi.families.layout import after_rows
from vidjacobi.families.model import RiderModel
from vidjacobi.testing import check_model

slow = pytest.mark.slow
GREEDY, NEW = SamplingParams(temperature=0.0), GRID.tokens
EXACT = [name for name in config_names("decoder") if load_decoder(name).guarantee != "lossy" and name != "ar"]
styles = pytest.mark.parametrize("style", STYLES)
LOSSY = [name for name in config_names("decoder") if load_decoder(name).guarantee == "lossy"]


def sampled(seed: int) -> SamplingParams:
    return SamplingParams(temperature=1.0, top_p=0.9, seed=seed)


def starts(clips: int = 1) -> Tensor:
    return torch.full((clips, 1), VOCAB)


def tokens(
    model: Any, decoder: Any, window: int | None = None, sampling: SamplingParams = GREEDY, clips: int = 2
) -> Tensor:
    return vidjacobi.decode(model, starts(clips), NEW, decoder, window, sampling).tokens


@styles
def test_greedy_tokens_are_those_of_plain_sequences(style: str) -> None:
    """Clips whose prompts have other lengths; one cell after the other, all of the sequence anew."""
    model = rider_model(3, 5, style=style)
    found = tokens(model, "pathwise", 7)
    for row in range(2):
        clip = starts()
        for _ in range(NEW):
            best = plain_logits(model, clip, row)[:, -1].argmax(-1, keepdim=True)
            clip = torch.cat([clip, best], 1)
        assert torch.equal(found[row], clip[0, 1:])


@slow
@pytest.mark.unchecked
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@styles
def test_it_keeps_the_promises_of_a_model(attention: str, style: str) -> None:
    """Eager attention of Llama computes its softmax in float32 whatever the weights are."""
    dtype = torch.float64 if attention == "sdpa" else torch.float32
    check_model(rider_model(3, attention=attention, style=style, dtype=dtype))
    cells = after_rows(GRID, 1, 2)
    trunk = tiny_trunk(attention=attention, style=style, dtype=dtype)
    check_model(RiderModel(trunk, GRID, cells, [condition(cells)], prompt=False))


@slow
@pytest.mark.parametrize(("prompts", "style"), [((3,), "llama"), ((3, 5), "llama"), ((3, 5), "gpt2")])
@pytest.mark.parametrize("decoder", EXACT)
def test_exact_decoders_give_ar_s_tokens(decoder: str, prompts: tuple[int, ...], style: str) -> None:
    model = rider_model(*prompts, style=style)
    wanted = tokens(model, "ar")
    for window in (5, 16, 64):  # the last is wider than the clip
        assert torch.equal(tokens(model, decoder, None if decoder == "adaptive" else window), wanted)


@slow
@pytest.mark.parametrize("decoder", LOSSY)
def test_lossy_lanes_run(decoder: str) -> None:
    found = vidjacobi.decode(rider_model(3, 5), starts(2), NEW, decoder, 16, GREEDY)
    assert max(found.stats.nfe) <= NEW
    assert found.tokens.max() < VOCAB


@slow
@styles
def test_sampled_tokens_are_ar_s(style: str) -> None:
    for prompts in ((3,), (3, 5)):
        model = rider_model(*prompts, style=style)
        for seed in range(3):
            wanted = tokens(model, "ar", None, sampled(seed))
            for window in (4, 7, 32):
                assert torch.equal(tokens(model, "pathwise", window, sampled(seed)), wanted)


@slow
@styles
def test_guided_branches_may_have_prompts_of_other_lengths(style: str) -> None:
    guided = Guided(rider_model(3, 5, style=style), rider_model(2, style=style), 3.0)
    wanted = tokens(guided, "ar", None, sampled(1))
    assert torch.equal(tokens(guided, "pathwise", 7, sampled(1)), wanted)
    assert not torch.equal(wanted, tokens(rider_model(3, 5, style=style), "ar", None, sampled(1)))


@slow
@styles
def test_contexts_of_other_lengths(style: str) -> None:
    """The first ends among the cells of a row, the second behind a row, the third is the prompt alone."""
    model = rider_model(4, style=style)
    contexts = [torch.tensor([VOCAB, 3, 1, 4, 1]), torch.tensor([VOCAB, 2, 7, 1]), torch.tensor([VOCAB])]
    counts = [9, 15, 18]
    wanted = vidjacobi.decode(model, contexts, counts, "ar", sampling=sampled(2)).tokens
    found = vidjacobi.decode(model, contexts, counts, "pathwise", 6, sampled(2)).tokens
    assert torch.equal(found, wanted)
    for row, (context, count) in enumerate(zip(contexts, counts, strict=True)):
        alone = vidjacobi.decode(model, [context], count, "ar", sampling=sampled(2)).tokens
        assert torch.equal(alone[0], wanted[row, :count])


@slow
def test_wide_passes_of_ar_end_in_padding() -> None:
    """Which is no crowd of siblings, and has no riders."""
    model = rider_model(3, grid=Grid(1, 5, 8))
    one, wide = (vidjacobi.decode(model, starts(), 40, "ar", window, GREEDY) for window in (1, 40))
    assert torch.equal(wide.tokens, one.tokens)


@slow
def test_futures_share_a_prefill_and_rows_are_given_on() -> None:
    """Copies of a row carry its riders and its condition."""
    model, names = rider_model(4), [("clip", 0, sample, 0) for sample in range(4)]
    context = torch.tensor([[VOCAB, 3, 1, 4, 1]] * 4)
    found = vidjacobi.decode(model, context, 12, "pathwise", 6, sampled(2), clip_ids=names)
    assert found.stats.prefill_shared_by == [4] * 4
    for row, name in enumerate(names):
        alone = vidjacobi.decode(model, context[:1], 12, "ar", sampling=sampled(2), clip_ids=[name]).tokens
        assert torch.equal(found.tokens[row], alone[0])


@slow
def test_a_clip_that_ends_early_leaves_the_others_their_prompts() -> None:
    model = rider_model(3, 5, 4)
    counts, contexts = [4, 18, 9], starts(3)
    wanted = vidjacobi.decode(model, contexts, counts, "ar", sampling=sampled(2)).tokens
    for decoder, window in (("pathwise", 6), ("pathwise", 64)):
        found = vidjacobi.decode(model, contexts, counts, decoder, window, sampled(2)).tokens
        assert torch.equal(found, wanted)


def test_a_row_is_wiped_by_one_that_holds_nothing() -> None:
    """As is done to a clip whose logits are NaN: a masked NaN would spoil its mates."""
    model = rider_model(3)
    cache = model.make_cache(2, 65)
    list(model.prefill(starts(2), cache, 1))
    kept = cache.entries.layers[0].keys[1].clone()
    for layer in cache.entries.layers:
        layer.keys[0] = layer.values[0] = torch.nan
    model.copy_rows(cache, torch.tensor([0]), model.make_cache(1, 65), torch.tensor([0]))
    for layer in cache.entries.layers:
        assert (layer.keys[0] == 0).all()
        assert (layer.values[0] == 0).all()
    assert torch.equal(cache.entries.layers[0].keys[1], kept)


def with_siblings(model: RiderModel, seed: int) -> Tensor:
    decoder = replace(load_decoder("pathwise"), draft_tree={"depth": 2, "width": 6})
    return tokens(model, decoder, 14, sampled(seed), clips=1)


@slow
@styles
def test_riders_of_an_accepted_sibling_move_with_it(monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    """And where they are not moved, tokens differ: the control."""
    grid = Grid(1, 18, 1)  # a rider behind every cell
    cells = after_rows(grid, 1)
    model = RiderModel(tiny_trunk(style=style), grid, cells, [condition(cells, 2, size=0.3)])
    moved = 0

    def counted(rows: Any, source: Tensor, target: Tensor, places: Any) -> tuple[Tensor, Tensor]:
        nonlocal moved
        moved += int((source != target).sum())
        return real(rows, source, target, places)

    real = model_module.moved_riders
    monkeypatch.setattr(model_module, "moved_riders", counted)
    wanted = [tokens(model, "ar", None, sampled(seed), clips=1) for seed in range(12)]
    assert all(torch.equal(with_siblings(model, seed), wanted[seed]) for seed in range(12))
    assert moved >= 10

    def stay(rows: Any, source: Tensor, target: Tensor, places: Any) -> tuple[Tensor, Tensor]:
        old, new = real(rows, source, target, places)
        return torch.full_like(old, places.dump), torch.full_like(new, places.dump)

    monkeypatch.setattr(model_module, "moved_riders", stay)
    assert not all(torch.equal(with_siblings(model, seed), wanted[seed]) for seed in range(12))


@slow
@pytest.mark.unchecked
@styles
def test_passes_compile_as_one_function(style: str) -> None:
    """Room for all riders that there can be instead of those that there are; the whole graph is traced."""
    model = rider_model(3, 5, style=style)
    found = tokens(compiled(model, backend="eager"), "pathwise", 6, sampled(1))
    assert torch.equal(found, tokens(model, "ar", None, sampled(1)))


@slow
@pytest.mark.unchecked
def test_passes_with_siblings_compile() -> None:
    """Riders of accepted siblings are moved in the compiled pass."""
    model = rider_model(3)
    assert torch.equal(tokens(compiled(model, backend="eager"), "sjd_pac", 14), tokens(model, "ar"))


def test_too_many_siblings_are_refused() -> None:
    """More than have room for their riders: 33 inputs at slots that are not their positions."""
    model, slots = rider_model(3), torch.arange(33)[None]
    cache, positions = model.make_cache(1, 65), torch.full_like(slots, 40)
    with pytest.raises(InvalidArgument, match="a draft tree of 33 siblings a pass"):
        model.forward(slots * 0, positions.clamp(max=18), 19 + slots, torch.ones(1, 33, 64).bool(), cache)


def test_what_a_model_does_not_cover_is_refused() -> None:
    model = rider_model(3, 4)
    with pytest.raises(InvalidArgument, match="2 conditions for a batch of 3 clips"):
        tokens(model, "ar", clips=3)
    with pytest.raises(InvalidArgument, match="1 to 3 frames, not 4"):
        model.grid_for(4)
    with pytest.raises(InvalidArgument, match="riders of 6 cells for a grid of 18"):
        RiderModel(model.trunk, GRID, after_rows(Grid(1, 2, 3), 1))


def test_learned_places_are_not_left() -> None:
    """The last cell is never fed: 64 places are enough for a clip of 65, and not for one of 66."""
    trunk, cells = tiny_trunk(style="gpt2"), torch.zeros(60, dtype=torch.long)
    model = RiderModel(trunk, Grid(1, 6, 10), cells, [condition(cells, 5)])
    wanted, found = (
        vidjacobi.decode(model, starts(), 60, decoder, window, GREEDY).tokens
        for decoder, window in (("ar", None), ("pathwise", 16))
    )
    assert torch.equal(found, wanted)
    with pytest.raises(InvalidArgument, match="5 given tokens and 61 positions reach beyond the 64 places"):
        RiderModel(trunk, Grid(1, 6, 10), cells, [condition(cells, 6)])
