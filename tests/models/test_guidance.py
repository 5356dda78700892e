"""Two branches as one model: every decoder keeps its guarantee with respect to the guided distribution."""

import pytest
import torch
from torch import Tensor

from vidjacobi import decode
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import strategies_of
from vidjacobi.kinds import Grid
from vidjacobi.models.guidance import Guided
from vidjacobi.models.protocol import TreeModel, VideoModel
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel, check_model

GRID, VOCAB = Grid(4, 3, 4), 8
MODELS = [TinyVideoModel(VOCAB, GRID, seed=seed, surprise=0.3, dtype=torch.float64) for seed in (0, 1)]
CONTEXT = torch.randint(0, VOCAB, (2, 12), generator=torch.Generator().manual_seed(0))


def whole(model: VideoModel, tokens: Tensor) -> Tensor:
    return torch.cat(list(model.prefill(tokens, model.make_cache(len(tokens), 48), tokens.shape[1])), 1)


def test_it_satisfies_the_protocols() -> None:
    model = Guided(*MODELS, scale=2.0)
    assert isinstance(model, VideoModel)
    assert isinstance(model, TreeModel)


@pytest.mark.parametrize(("scale", "branch"), [(1.0, 0), (0.0, 1)])
def test_the_ends_of_the_scale_are_the_branches(scale: float, branch: int) -> None:
    """At scale 1 and 0, for tokens to which both branches give a finite logit."""
    guided, alone = whole(Guided(*MODELS, scale=scale), CONTEXT), whole(MODELS[branch], CONTEXT)
    both = whole(MODELS[0], CONTEXT).isfinite() & whole(MODELS[1], CONTEXT).isfinite()
    assert torch.allclose(guided[both], alone[both])


def test_the_formula() -> None:
    c, u = (whole(model, CONTEXT) for model in MODELS)
    guided = whole(Guided(*MODELS, scale=3.0), CONTEXT)
    both = c.isfinite() & u.isfinite()
    assert torch.allclose(guided[both], (u + 3 * (c - u))[both])
    # where a branch gives -inf, the conditional branch decides alone
    assert torch.equal(guided[~both], c[~both])


def test_a_scale_for_each_cell() -> None:
    """The logits of input i decide cell i + 1, in a prefill and in passes."""
    scales = [1.0 + 0.5 * (cell % 5) for cell in range(MODELS[0].max_positions)]
    c, u = (whole(model, CONTEXT) for model in MODELS)
    model, own = Guided(*MODELS, scale=scales), torch.tensor(scales, dtype=c.dtype)[1 : 1 + c.shape[1], None]
    both = c.isfinite() & u.isfinite()
    assert torch.allclose(whole(model, CONTEXT)[both], (u + own * (c - u))[both])
    ar = decode(model, CONTEXT, 36, "ar").tokens
    assert torch.equal(decode(model, CONTEXT, 36, "pathwise", window=9).tokens, ar)
    assert not torch.equal(decode(Guided(*MODELS, scale=scales[0]), CONTEXT, 36, "ar").tokens, ar)
    assert torch.equal(
        whole(Guided(*MODELS, [2.0] * len(scales)), CONTEXT), whole(Guided(*MODELS, 2.0), CONTEXT)
    )
    with pytest.raises(ValueError, match="3 guidance scales for"):
        Guided(*MODELS, scale=scales[:3])


THREE = [TinyVideoModel(VOCAB, GRID, seed=seed, surprise=0.3, dtype=torch.float64) for seed in (0, 1, 2)]


@pytest.mark.unchecked
@pytest.mark.parametrize("by_cell", [False, True])
def test_three_branches_are_mixed_by_weight(by_cell: bool) -> None:
    """Emu3.5: v + a * (u - v) + b * (c - u), in a prefill, in passes, and as AR decides."""
    cells = MODELS[0].max_positions
    ends = [5.0 if cell < 30 or not by_cell else 1.0 for cell in range(cells)]  # b; the guidance may end
    weights: list[list[float]] = [ends, [2.0 - b for b in ends], [-1.0] * cells]  # a is 2
    given = weights if by_cell else [5.0, -3.0, -1.0]
    model = Guided.weighted(THREE, given, [None, None, torch.zeros_like])
    c, u, v = (
        whole(branch, tokens) for branch, tokens in zip(THREE, (CONTEXT, CONTEXT, 0 * CONTEXT), strict=True)
    )
    b = torch.tensor(ends, dtype=c.dtype)[1 : 1 + c.shape[1], None]
    finite = c.isfinite() & u.isfinite() & v.isfinite()
    found = whole(model, CONTEXT)
    assert torch.allclose(found[finite], (v + 2 * (u - v) + b * (c - u))[finite])
    assert torch.equal(found[~finite], c[~finite])
    ar = decode(model, CONTEXT, 36, "ar").tokens
    assert torch.equal(decode(model, CONTEXT, 36, "pathwise", window=9).tokens, ar)
    check_model(Guided.weighted(THREE, given))


def test_two_weights_are_a_scale() -> None:
    weighted, scaled = Guided.weighted(MODELS, [1.7, 1 - 1.7]), Guided(*MODELS, 1.7)
    assert torch.equal(whole(weighted, CONTEXT), whole(scaled, CONTEXT))


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 0.5, 0.5], "sum to 2: guidance is a mean of logits"),
        ([1.0, 0.0], "2 weights and 3 blanks for 3 branches"),
        ([1.0, float("nan"), 0.0], "the weight of a branch must be a finite number, not nan"),
        ([1.0, "2", 0.0], "the weight of a branch must be a number"),
        ([1.0, True, 0.0], "the weight of a branch must be a number"),
        ([[1.0] * 3, [0.0] * 3, 0.0], "3 guidance scales for"),
        ([[1.0] * 47 + [2.0], 0.0, 0.0], "sum to 2"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Guided.weighted(THREE, weights, [None] * 3)


def test_one_branch_is_no_guidance() -> None:
    with pytest.raises(ValueError, match="1 weight and 1 blank for 1 branch"):
        Guided.weighted(THREE[:1], [1.0])
    with pytest.raises(ValueError, match="differ in vocab_size: 8 and 4"):
        Guided.weighted([*THREE[:2], TinyVideoModel(4, GRID, dtype=torch.float64)], [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "name", [name for name in config_names("decoder") if load_decoder(name).guarantee == "identical"]
)
def test_identical_decoders_give_the_guided_ar_tokens(name: str) -> None:
    model = Guided(*MODELS, scale=1.7, blank=torch.zeros_like)
    temperature = load_decoder(name).temperature
    ar = decode(model, CONTEXT, 36, "ar", sampling=SamplingParams(temperature))
    assert torch.equal(decode(model, CONTEXT, 36, name, window=9).tokens, ar.tokens)
    plain = decode(MODELS[0], CONTEXT, 36, "ar", sampling=SamplingParams(temperature))
    assert not torch.equal(plain.tokens, ar.tokens)


def test_siblings_move_entries_of_both_branches() -> None:
    model = Guided(*MODELS, scale=1.7)
    config = load_decoder("pathwise", {"draft_tree": {"depth": 2, "width": 3}})
    assert strategies_of(config)
    fast, slow = decode(model, CONTEXT, 36, config, window=12), decode(model, CONTEXT, 36, "ar")
    assert torch.equal(fast.tokens, slow.tokens)


def test_branches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        Guided(MODELS[0], TinyVideoModel(VOCAB + 1, GRID, dtype=torch.float64), 2.0)
    with pytest.raises(ValueError, match="grids"):
        Guided(MODELS[0], TinyVideoModel(VOCAB, Grid(4, 4, 3), dtype=torch.float64), 2.0)
    with pytest.raises(ValueError, match="finite"):
        Guided(*MODELS, scale=float("nan"))
    with pytest.raises(ValueError, match="one length"):
        decode(Guided(*MODELS, scale=2.0, blank=lambda tokens: tokens[:, 1:]), CONTEXT, 4, "ar")


def test_temperature_is_applied_after_guidance() -> None:
    """Greedy decoding takes the argmax of the guided logits."""
    model = Guided(*MODELS, scale=2.5)
    tokens = decode(model, CONTEXT, 5, "ar", sampling=SamplingParams(0.0)).tokens
    clip = torch.cat([CONTEXT, tokens], 1)
    assert torch.equal(whole(model, clip[:, :-1]).argmax(-1)[:, -5:], tokens)
    assert SamplingParams(0.0).temperature == 0
