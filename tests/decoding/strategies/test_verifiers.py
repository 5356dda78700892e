"""What becomes final, and the two rules of acceptance."""

from inspect import getdoc
from re import findall
from typing import Any

import pytest
import torch
from sample_checks import as_draft_probs, truncated
from torch import Tensor

from vidjacobi.config.decoder import GUARANTEES
from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal
from vidjacobi.decoding.strategies.verifiers import (
    VERIFIERS,
    Grouped,
    Pathwise,
    RejectionSampler,
    TreeVerifier,
    accept_prefix,
)
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import build
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import gumbel_max, normalise


def mask(text: str) -> Tensor:
    return torch.tensor([[letter == "1" for letter in text]])


@pytest.mark.parametrize(
    ("kept", "valid", "accepted", "decided"),
    [
        ("1101", "1111", 2, 3),  # the corrected token counts as decided
        ("0111", "1111", 0, 1),
        ("1111", "1111", 4, 4),  # nothing was corrected
        ("1111", "1100", 2, 2),  # the clip ends inside the window
        ("1011", "1100", 1, 2),
        ("1101", "1100", 2, 2),
        ("1111", "0000", 0, 0),  # a finished clip
        ("0000", "0000", 0, 0),
        ("0", "1", 0, 1),
    ],
)
def test_one_lane(kept: str, valid: str, accepted: int, decided: int) -> None:
    final = accept_prefix(mask(kept), mask(valid))
    assert final.accepted.sum().item() == accepted
    assert final.decided.sum().item() == decided
    # a run from the first slot, and an accepted token is a kept one
    assert final.decided[0].tolist() == [slot < decided for slot in range(len(kept))]
    assert torch.equal(final.accepted, final.decided & mask(kept))


@pytest.mark.parametrize(
    ("lane", "kept", "valid", "corrects", "accepted", "decided"),
    [
        ("0000", "1101", "1111", "1111", "1100", "1110"),
        ("0000", "1101", "1111", "0000", "1100", "1100"),  # the rejected draft stays open
        ("0011", "1011", "1111", "1111", "1011", "1111"),  # every lane has a run of its own
        ("0011", "0101", "1111", "1111", "0000", "1010"),
        ("0011", "0101", "1111", "1100", "0000", "1000"),  # only the first lane corrects (PJD)
        ("0011", "1010", "1111", "1100", "1010", "1110"),
        ("0055", "1111", "1111", "1111", "1111", "1111"),
        ("000122", "010011", "111111", "111111", "000011", "100111"),
        ("0011", "0011", "0111", "1111", "0011", "0111"),  # a slot that is only fed decides nothing
        ("0000", "0101", "0101", "1111", "0101", "0101"),  # and breaks no run
        ("0000", "0001", "0101", "1111", "0000", "0100"),
        ("000111", "011010", "011011", "111000", "011010", "011010"),
        ("0011", "1111", "0000", "1111", "0000", "0000"),  # a finished clip
    ],
)
def test_several_lanes(lane: str, kept: str, valid: str, corrects: str, accepted: str, decided: str) -> None:
    lanes = torch.tensor([[int(digit) for digit in lane]])
    final = accept_prefix(mask(kept), mask(valid), lanes, mask(corrects))
    assert torch.equal(final.accepted, mask(accepted))
    assert torch.equal(final.decided, mask(decided))


def test_the_example_of_the_docstring() -> None:
    """Two lanes, row by row as they are written there."""
    rows = {
        name: values.split()
        for name, values in findall(r"(\w+) +((?:[01AB] ){4}[01AB])", str(getdoc(accept_prefix)))
    }
    assert list(rows) == ["lane", "kept", "rejected", "before", "accepted", "decided"]
    kept = mask("".join(rows["kept"]))
    lanes = torch.tensor([["AB".index(letter) for letter in rows["lane"]]])
    prefix = accept_prefix(kept, torch.ones_like(kept), lanes)
    assert torch.equal(prefix.accepted, mask("".join(rows["accepted"])))
    assert torch.equal(prefix.decided, mask("".join(rows["decided"])))


def test_clips_do_not_meet() -> None:
    """Rows of a batch, with other lanes in the same slots."""
    lanes = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [7, 7, 7, 7]])
    kept = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]]).bool()
    final = accept_prefix(kept, torch.ones_like(kept), lanes, torch.ones_like(kept))
    assert final.decided.long().tolist() == [[1, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]
    for row in range(3):
        alone = accept_prefix(
            kept[[row]], torch.ones_like(kept[[row]]), lanes[[row]], torch.ones_like(kept[[row]])
        )
        assert torch.equal(alone.decided[0], final.decided[row])


def evidence(clips: int = 3000) -> DraftEvidence:
    generator = torch.Generator().manual_seed(0)
    q, target = ((2 * torch.randn(clips, 2, 5, generator=generator)).softmax(-1) for _ in range(2))
    target[..., 4] = 0
    target = normalise(target)
    positions = torch.arange(8, 10).repeat(clips, 1)
    noise = Noise(noise_roots(0, torch.arange(clips)), positions, torch.full((clips,), 4), torch.float32)
    earlier = Noise(noise_roots(0, torch.arange(clips)), positions, torch.full((clips,), 3), torch.float32)
    return DraftEvidence(
        gumbel_max(q, earlier.exponential(Purpose.FRESH, 5)), as_draft_probs(q), truncated(target), noise
    )


def test_pathwise_keeps_what_ar_draws() -> None:
    case = evidence()
    verdict = Pathwise()(case)
    ar = gumbel_max(case.target_probs.dense(), case.noise.exponential(Purpose.GUMBEL, 5))
    assert torch.equal(verdict.tokens, ar)
    assert torch.equal(verdict.kept, ar == case.drafts)
    assert verdict.kept.any()
    assert not verdict.kept.all()


def test_rejection_sampling_keeps_or_corrects() -> None:
    case = evidence()
    verdict = RejectionSampler()(case)
    assert torch.equal(verdict.tokens[verdict.kept], case.drafts[verdict.kept])
    # a correction comes from where p exceeds q, so it is never the rejected draft
    assert (verdict.tokens != case.drafts)[~verdict.kept].all()
    gained = (case.target_probs.dense() > case.draft_probs.dense()).gather(-1, verdict.tokens[..., None])[
        ..., 0
    ]
    assert gained[~verdict.kept].all()
    assert not verdict.kept[case.drafts == 4].any()  # p = 0


def test_a_verifier_and_a_coupling_of_one_rule_share_their_work() -> None:
    case = evidence(2)
    assert case.draw(RejectionSampler()).tokens is case.draw(Maximal()).tokens
    assert case.draw(Pathwise()).tokens is case.draw(Gumbel()).tokens


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_says_what_it_proves(name: str) -> None:
    verifier = VERIFIERS[name]()
    assert verifier.guarantee in GUARANTEES
    assert isinstance(verifier.reads_draft_probs, bool)
    assert hash(verifier) == hash(VERIFIERS[name]())
    assert isinstance(verifier.noise, Purpose)


def test_which_verifiers_choose_among_siblings() -> None:
    assert {name for name, entry in VERIFIERS.items() if isinstance(entry(), TreeVerifier)} == {
        "rejection_sampling",
        "pathwise",
    }


def test_the_group_of_a_token() -> None:
    """Neighbours in the order of p that are close enough, ties together."""
    probs = torch.tensor([[[0.40, 0.20, 0.15, 0.15, 0.06, 0.04]]])

    def group(size: int, closeness: float, token: int) -> list[int]:
        members = Grouped(size, closeness).group(probs, probs[..., token, None])
        return members[0, 0].nonzero().flatten().tolist()

    assert group(1, 1.0, 1) == [0, 1]  # one rank above, none below
    assert group(2, 1.0, 1) == [0, 1, 2, 3]
    assert group(3, 1.0, 0) == [0, 1, 2, 3]
    assert group(9, 1.0, 4) == [0, 1, 2, 3, 4, 5]
    assert group(9, 0.1, 1) == [1, 2, 3]  # 0.06 is 0.14 away
    assert group(9, 0.01, 2) == [2, 3]


def test_grouped_keeps_more_than_rejection_sampling() -> None:
    """It accepts by the group's mass, and corrects from the token's own residual."""
    case = evidence()
    grouped, plain = Grouped(closeness=1.0, size=9)(case), RejectionSampler()(case)
    assert grouped.kept.all()  # one group of all tokens: u < 1
    alone = Grouped(closeness=1e-7, size=1)(case)
    assert torch.equal(alone.kept, plain.kept)
    assert torch.equal(alone.tokens, plain.tokens)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size"),
        ({"size": 1.5}, "size"),
        ({"closeness": 0.0}, "closeness"),
        ({"closeness": 2.0}, "closeness"),
    ],
)
def test_bad_groups_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        build("verifier", {"name": "grouped", **options}, VERIFIERS)
