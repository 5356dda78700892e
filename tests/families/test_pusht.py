"""nano-pusht's model on a tiny network: its promises, every decoder against AR, and what actions do to which rows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import vidjacobi
from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.opening import open_family
from vidjacobi.families.pusht import PushTModel
from vidjacobi.families.pusht_network import NOTHING, PushTNetwork, PushTSpec, sources
from vidjacobi.kinds import Grid
from vidjacobi.testing import check_model

GRID = Grid(4, 2, 3)
TRUNK = ModelSpec(
    dim=24,
    n_layers=2,
    n_heads=2,
    n_kv_heads=1,
    head_dim=12,
    ffn_hidden_size=32,
    vocab_size=11,
    rope_theta=100.0,
    video_latent_shape=(GRID.t, GRID.h, GRID.w),
    num_video_frames=GRID.t,
)
SPEC = PushTSpec(TRUNK, near_width=5)
EXACT = [
    name for name in config_names("decoder") if load_decoder(name).guarantee == "identical" and name != "ar"
]
SAMPLING = vidjacobi.SamplingParams(temperature=1.0, top_p=0.9, seed=3)


def network(spec: PushTSpec = SPEC, dtype: torch.dtype = torch.float64) -> PushTNetwork:
    torch.manual_seed(0)
    net = PushTNetwork(spec)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.to(dtype).requires_grad_(False)


def actions(clips: int, seed: int = 0) -> Tensor:
    return torch.rand(clips, GRID.t - 1, 4, generator=torch.Generator().manual_seed(seed)) * 512


def contexts(clips: int, frames: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, TRUNK.vocab_size, (clips, frames * GRID.frame_tokens), generator=generator)


@pytest.mark.unchecked
def test_it_keeps_the_promises_of_a_model() -> None:
    check_model(PushTModel(network(), list(actions(1))))


@pytest.mark.parametrize("decoder", EXACT)
def test_decoders_decide_the_tokens_of_one_by_one_decoding(decoder: str) -> None:
    model = PushTModel(network(), list(actions(2)))
    new = GRID.tokens - GRID.frame_tokens
    wanted = vidjacobi.decode(model, contexts(2), new, "ar", sampling=SAMPLING).tokens
    for window in (4, 16):
        assert vidjacobi.decode(model, contexts(2), new, decoder, window, SAMPLING).tokens.equal(wanted)


def test_windows_give_what_the_plain_pass_gives() -> None:
    """The features that a window reads from the ids in the cache are those of whole clips."""
    net, told = network(), actions(2)
    model, tokens = PushTModel(net, list(told)), contexts(2, GRID.t)
    wanted = net.head(net(tokens, told.double()))[:, :-1]
    cache = model.make_cache(2, GRID.tokens)
    model.set_conditions(cache, list(told))
    first = torch.cat(list(model.prefill(tokens[:, :7], cache, 7)), 1)
    rest = torch.arange(7, GRID.tokens - 1).expand(2, -1)
    visible = torch.arange(64) <= rest[..., None]
    later = model.forward(tokens[:, 7:-1], rest, rest, visible, cache)
    torch.testing.assert_close(torch.cat([first, later], 1), wanted)


def test_a_place_is_looked_for_a_frame_and_two_earlier() -> None:
    found = sources(GRID, torch.device("cpu"))
    middle = 2 * GRID.frame_tokens + 1 * GRID.w + 1  # frame 2, row 1, column 1
    one = [0, 1, 2, 3, 4, 5, NOTHING, NOTHING, NOTHING]
    assert found[middle].tolist() == [p + 6 if p >= 0 else p for p in one] + one
    assert (found[: GRID.frame_tokens] == NOTHING).all()
    assert (found[GRID.tokens] == NOTHING).all()
    assert found[GRID.frame_tokens].tolist().count(NOTHING) == 9 + 5  # a corner of frame 1


def test_what_an_input_may_not_see_is_nothing() -> None:
    net = network()
    ids, positions = torch.arange(24)[None], torch.tensor([[18]])
    visible = torch.ones(1, 1, 24, dtype=torch.bool)
    whole = net.seen(positions, visible, ids)
    visible[..., 13] = False
    part = net.seen(positions, visible, ids)
    assert (whole == 13).sum() == 1
    assert part.tolist() == torch.where(whole == 13, NOTHING, whole).tolist()


def test_rows_follow_their_own_actions_alone() -> None:
    net, told = network(), actions(2)
    model, names = PushTModel(net), ["a", "b"]

    def decoded(rows: slice, of: Tensor) -> Tensor:
        return vidjacobi.decode(
            model, contexts(2)[rows], 18, sampling=SAMPLING, clip_ids=names[rows], conditions=list(of[rows])
        ).tokens

    both = decoded(slice(0, 2), told)
    assert vidjacobi.decode(
        PushTModel(net, list(told)), contexts(2), 18, sampling=SAMPLING, clip_ids=names
    ).tokens.equal(both)
    for row in range(2):
        assert decoded(slice(row, row + 1), told).equal(both[row : row + 1])
    later = told.clone()
    later[:, 2] = 512 - later[:, 2]
    other = decoded(slice(0, 2), later)
    assert other[:, :12].equal(both[:, :12])  # frames 1 and 2 come before the action that differs
    assert not other.equal(both)


def test_an_action_may_be_given_when_its_frame_begins() -> None:
    """What a frame is told is read when it is decoded, and equal actions have equal names."""
    net, told = network(), actions(1)[0]
    model = PushTModel(net, [told])
    cache, free = model.make_cache(1, GRID.tokens), PushTModel(net, [told[:0]])
    later, frame = free.make_cache(1, GRID.tokens), GRID.frame_tokens
    unknown = later.acted.clone()
    free.set_conditions(later, [told[:1]])
    assert later.acted[:, : 2 * frame].equal(cache.acted[:, : 2 * frame])
    assert later.acted[:, 2 * frame :].equal(unknown[:, 2 * frame :])
    free.set_conditions(later, [told])
    assert later.acted.equal(cache.acted)
    free.set_conditions(later, [torch.full_like(told, torch.nan)])
    assert later.acted.equal(unknown)
    assert model.condition_id(told, 24) == free.condition_id(told.clone(), 24)
    assert model.condition_id(told, 24) != model.condition_id(told[:2], 24)


@pytest.mark.unchecked
def test_actions_that_do_not_fit_are_refused() -> None:
    net = network()
    for wrong, words in (
        (torch.zeros(3, 2), r"\[frames, 4\]"),
        (torch.zeros(4, 4), "a clip of this model has 4"),
        (torch.full((3, 4), 513.0), "0 to 512, and one is 513"),
        (torch.zeros(3, 4, dtype=torch.long), "floating-point"),
        ("left", "a tensor"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            PushTModel(net, [wrong])  # type: ignore[list-item]
    with pytest.raises(InvalidArgument, match="2 conditions for a batch of 3 clips"):
        vidjacobi.decode(PushTModel(net, list(actions(2))), contexts(3), 6)
    with pytest.raises(InvalidArgument, match="needs a condition"):
        vidjacobi.decode(PushTModel(net), contexts(1), 6)


def test_passes_are_width_invariant_where_a_probe_says_so() -> None:
    spec = PushTSpec(replace(TRUNK, dim=32, head_dim=16), near_width=8)
    model = PushTModel(network(spec, torch.float32), list(actions(1)))
    if not model.bitwise:
        pytest.skip("no padding is enough on this processor")
    tokens = contexts(1, GRID.t)
    cache = model.make_cache(1, GRID.tokens)
    wide = next(iter(model.prefill(tokens, cache, GRID.tokens)))
    cache = model.make_cache(1, GRID.tokens)
    for place in range(GRID.tokens):
        position = torch.tensor([[place]])
        visible = torch.arange(64)[None, None] <= place
        assert model.forward(tokens[:, place : place + 1], position, position, visible, cache).equal(
            wide[:, place : place + 1]
        )


def test_a_folder_without_weights_is_refused(tmp_path: object) -> None:
    with pytest.raises(BadCheckpoint, match="pusht-export"):
        open_family("pusht", str(tmp_path))
