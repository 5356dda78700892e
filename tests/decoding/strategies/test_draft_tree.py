"""Siblings beside the drafts: how they are drawn, and the probs of what comes out."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch
from sample_checks import chi_square, seed_of
from torch import Tensor

from vidjacobi.decoding.recipe import Strategies
from vidjacobi.decoding.strategies.draft_tree import (
    DraftTree,
    RejectedDraft,
    TreeVerdict,
    draw_siblings,
    normalised,
    try_in_turn,
)
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import build
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import gumbel_max, one_hot, probability, residual

CLIPS = 200_000
PROBS = {  # pairs (q, p)
    "near": ([0.4, 0.3, 0.2, 0.1, 0.0], [0.35, 0.25, 0.25, 0.1, 0.05]),
    "far": ([0.7, 0.1, 0.1, 0.05, 0.05], [0.05, 0.05, 0.3, 0.4, 0.2]),
    "uniform": ([0.2] * 5, [0.3, 0.25, 0.23, 0.2, 0.02]),
    "other nucleus": ([0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.4, 0.4, 0.2, 0.0]),
    "disjoint": ([0.6, 0.4, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.3, 0.2]),
    "q is certain": ([0.0, 1.0, 0.0, 0.0, 0.0], [0.3, 0.3, 0.2, 0.1, 0.1]),
    "p is certain": ([0.3, 0.3, 0.2, 0.1, 0.1], [0.0, 0.0, 1.0, 0.0, 0.0]),
    "equal": ([0.3, 0.3, 0.2, 0.1, 0.1], [0.3, 0.3, 0.2, 0.1, 0.1]),
}
CHANCE = 1e-3 / (4 * len(PROBS))


def noise_of(seed: int, clips: int = CLIPS) -> Noise:
    return Noise(
        noise_roots(seed, torch.arange(clips)),
        torch.full((clips, 1), 5),
        torch.full((clips,), 3),
        torch.float64,
    )


def drafts_of(q: Tensor, noise: Noise) -> Tensor:
    return gumbel_max(
        q.expand(len(noise.uniform(Purpose.COIN)), 1, -1), noise.exponential(Purpose.FRESH, len(q))
    )


def rejected_of(q: Tensor, p: Tensor, count: int, noise: Noise) -> tuple[RejectedDraft, Tensor, Tensor]:
    """(what there is where every draft is rejected, the drafts, whether each is kept)."""
    drafts = drafts_of(q, noise)
    clips = len(drafts)
    draft_probs, target = (probs.expand(clips, 1, -1).contiguous() for probs in (q, p))
    found = draw_siblings(draft_probs, drafts, count, noise.exponential(Purpose.SIBLING, len(q)))
    kept = noise.uniform(Purpose.ACCEPT) * probability(draft_probs, drafts) < probability(target, drafts)
    corrected = gumbel_max(residual(target, draft_probs), noise.exponential(Purpose.REDRAW, len(q)))
    case = RejectedDraft(target, draft_probs, drafts, corrected, found.tokens[:, 0], found.exist[:, 0], noise)
    return case, drafts, kept


def outcome(drafts: Tensor, kept: Tensor, verdict: TreeVerdict) -> Tensor:
    return torch.where(kept, drafts, verdict.tokens)[:, 0]


def q_and_p(pair: str) -> tuple[Tensor, Tensor]:
    q, p = (torch.tensor(probs, dtype=torch.float64) for probs in PROBS[pair])
    return q, p


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("pair", PROBS)
def test_the_token_in_the_end_follows_p(pair: str, count: int) -> None:
    q, p = q_and_p(pair)
    case, drafts, kept = rejected_of(q, p, count, noise_of(seed_of(pair, count)))
    verdict = try_in_turn(case)
    counts = outcome(drafts, kept, verdict).bincount(minlength=5)
    assert chi_square(counts, p) > CHANCE
    hit = verdict.hit >= 0
    assert torch.equal(
        verdict.tokens[hit][:, 0], case.siblings.gather(1, verdict.hit.clamp(min=0)[:, None])[hit, 0]
    )
    assert case.exists.gather(1, verdict.hit.clamp(min=0)[:, None])[hit].all()  # only ones that exist
    assert not (verdict.tokens == drafts)[~kept].any() or pair == "equal"
    if pair in ("near", "far", "uniform"):
        assert hit[~kept[:, 0]].any()  # siblings are good for something
        assert not hit[~kept[:, 0]].all() or count >= 4
    if pair in ("disjoint", "q is certain"):
        assert not hit.any()


def test_one_uniform_for_all_tests_would_not_do() -> None:
    """Having failed with u, a sibling says something about u: the second test is biased."""
    q, p = (
        torch.tensor(probs, dtype=torch.float64) for probs in ([0.5, 0.1, 0.1, 0.3], [0.0, 0.3, 0.25, 0.45])
    )
    noise = noise_of(1)

    class Shared(Noise):
        def uniforms(self, purpose: Purpose, count: int) -> Tensor:
            return super().uniforms(purpose, 1).expand(-1, -1, count)

    case, _, kept = rejected_of(q, p, 3, noise)
    first = residual(p[None, None], q[None, None])[0, 0]
    rejected = ~kept[:, 0]
    own = try_in_turn(case).tokens[rejected, 0].bincount(minlength=4)
    assert chi_square(own, first / first.sum()) > 1e-4
    shared = Shared(
        noise_roots(1, torch.arange(CLIPS)), torch.full((CLIPS, 1), 5), torch.full((CLIPS,), 3), torch.float64
    )
    one = try_in_turn(replace(case, noise=shared)).tokens[rejected, 0].bincount(minlength=4)
    assert chi_square(one, first / first.sum()) < 1e-9


@pytest.mark.parametrize("count", [1, 2, 3])
def test_candidates_are_drawn_without_replacement(count: int) -> None:
    """Draft and siblings in order have the probability of drawing one after the other."""
    q = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    noise = noise_of(count)
    drafts = drafts_of(q, noise)
    probs = q.expand(CLIPS, 1, -1).contiguous()
    for exponential in (  # of its own, or that of the race that the draft won
        noise.exponential(Purpose.SIBLING, 4),
        noise.exponential(Purpose.FRESH, 4),
    ):
        found = draw_siblings(probs, drafts, count, exponential)
        assert found.exist.all()
        drawn = torch.cat([drafts, found.tokens[:, 0]], 1)
        index = (drawn * 4 ** torch.arange(count + 1)).sum(-1)
        expected = torch.zeros(4 ** (count + 1), dtype=torch.float64)
        for tokens in permutations(range(4), count + 1):
            left, chance = 1.0, 1.0
            for token in tokens:
                chance *= float(q[token]) / left
                left -= float(q[token])
            expected[sum(token * 4**place for place, token in enumerate(tokens))] = chance
        assert chi_square(index.bincount(minlength=len(expected)), expected) > 1e-4


def test_probs_with_fewer_tokens_than_siblings() -> None:
    probs = torch.tensor([[[0.5, 0.3, 0.2, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]]])
    drafts = torch.tensor([[1, 2]])
    exponential = torch.ones(1, 2, 5)
    found = draw_siblings(probs, drafts, 4, exponential)
    assert found.tokens[0, 0, :2].tolist() == [0, 2]
    assert found.exist.tolist() == [[[True, True, False, False], [False] * 4]]
    wide = draw_siblings(probs, drafts, 9, exponential)  # wider than the vocabulary
    assert wide.tokens.shape == wide.exist.shape == (1, 2, 9)
    assert wide.exist.sum(-1).tolist() == [[2, 0]]
    assert (wide.tokens < 5).all()


def test_the_pathwise_verifier_takes_the_one_that_is_right() -> None:
    corrected = torch.tensor([[3], [3], [3], [3]])
    siblings = torch.tensor([[1, 3], [3, 1], [1, 2], [1, 3]])
    exists = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    probs = one_hot(corrected, 5, torch.float64)
    case = RejectedDraft(probs, probs, corrected, corrected, siblings, exists, noise_of(0, 4))
    verdict = Pathwise().choose_sibling(case)
    assert torch.equal(verdict.tokens, corrected)
    assert verdict.hit.tolist() == [1, 0, -1, -1]


def test_what_does_not_exist_is_never_tried() -> None:
    """Whatever its token says: a placeholder may be a likely token of p."""
    q, p = q_and_p("far")
    case, drafts, kept = rejected_of(q, p, 2, noise_of(9))
    nobody = try_in_turn(replace(case, exists=torch.zeros_like(case.exists)))
    assert (nobody.hit == -1).all()
    assert chi_square(outcome(drafts, kept, nobody).bincount(minlength=5), p) > CHANCE
    assert torch.equal(nobody.tokens, case.corrected)  # what it would have been without siblings


def test_rows_are_normalised_unless_they_are_zero() -> None:
    rows = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    assert normalised(rows).tolist() == [[[0.25, 0.75]], [[0.0, 0.0]]]


@pytest.mark.parametrize(
    ("depth", "width", "share", "levels"),
    [
        (1, 2, None, {1: 0, 2: 1, 9: 1}),
        (3, 4, None, {1: 0, 3: 0, 4: 1, 7: 2, 9: 2, 10: 3, 64: 3}),
        (3, 4, 0.2, {10: 0, 15: 1, 16: 1, 30: 2, 64: 3}),
    ],
)
def test_they_leave_room_for_a_draft(
    depth: int, width: int, share: float | None, levels: dict[int, int]
) -> None:
    tree = DraftTree(depth, width, share)
    for window, expected in levels.items():
        assert tree.levels(window) == expected
        assert tree.count(window) == expected * (width - 1) < window


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 0}, "depth"),
        ({"width": 1}, "width"),
        ({"depth": 1.5}, "depth"),
        ({"share": 0.0}, "share"),
        ({"share": 1.0}, "share"),
        ({"wide": 3}, "wide"),
    ],
)
def test_bad_trees_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        build("draft tree", {"name": "draft_tree", **options}, {"draft_tree": DraftTree})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verifier": {"name": "grouped"}}, "Grouped cannot choose among siblings"),
        ({"lanes": {"name": "rows"}}, "a draft tree needs one lane"),
    ],
)
def test_strategies_that_do_not_go_with_a_draft_tree(changed: dict[str, Any], words: str) -> None:
    entries: dict[str, Any] = {
        "draft": {"name": "uniform"},
        "coupling": {"name": "maximal"},
        "verifier": {"name": "rejection_sampling"},
        "draft_tree": {"depth": 2, "width": 2},
    }
    assert Strategies.named(**entries).draft_tree == DraftTree(2, 2)
    with pytest.raises(InvalidArgument, match=words):
        Strategies.named(**{**entries, **changed})


def test_verifiers_draw_siblings_with_noise_that_fits() -> None:
    """Pathwise: the runners-up of the perturbed scores; rejection sampling: noise that nothing else looks at."""
    assert Pathwise().sibling_noise == Purpose.GUMBEL
    assert RejectionSampler().sibling_noise == Purpose.SIBLING
