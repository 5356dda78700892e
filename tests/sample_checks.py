"""Samples of a decoder against the exact joint law of the tiny model."""

from dataclasses import dataclass
from zlib import crc32

import torch
from scipy.stats import chi2
from torch import Tensor

from vidjacobi.decoding.methods import METHODS
from vidjacobi.decoding.state import Problem, Strategies
from vidjacobi.grid import Grid
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.sampling.sampler import to_truncated_probs
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs
from vidjacobi.testing import SMALL, TinyVideoModel, joint_law, sequence_index

SAMPLES = 100_000
SAMPLING = SamplingParams(temperature=1.0, top_p=0.95)


@dataclass(frozen=True)
class Setting:
    """A decoding problem small enough to be enumerated."""

    window: int
    context: tuple[int, ...] = (1, 2)
    new_tokens: int = 4
    vocab_size: int = 3
    surprise: float = 0.7
    sampling: SamplingParams = SAMPLING
    grid: Grid = SMALL

    @property
    def model(self) -> TinyVideoModel:
        return TinyVideoModel(self.vocab_size, self.grid, surprise=self.surprise)

    def problem(self, parts: Strategies | None, samples: int = SAMPLES, seed: int = 0) -> Problem:
        """One clip per sample; the clips differ by their noise streams only."""
        context = torch.tensor(self.context).repeat(samples, 1)
        noise_keys = torch.arange(samples)
        return Problem(
            self.model, context, self.new_tokens, self.sampling, self.window, seed, noise_keys, parts
        )


def nuclei(laws: Tensor) -> TruncatedProbs:
    """Dense laws as the record that decoders have, equal up to rounding."""
    return to_truncated_probs(laws.log(), SamplingParams(top_p=1.0))


def drafted(laws: Tensor) -> DraftProbs:
    """Dense laws as those of drafts."""
    return DraftProbs.of_pass(nuclei(laws))


def p_value(setting: Setting, parts: Strategies | None, seed: int = 0, samples: int = SAMPLES) -> float:
    """How likely so large a distance from the joint law is by chance; 0 if an impossible sequence came out."""
    method = METHODS["autoregressive" if parts is None else "jacobi"]
    tokens = method(setting.problem(parts, samples, seed)).tokens
    law = joint_law(setting.model, torch.tensor(setting.context), setting.new_tokens, setting.sampling)
    counts = sequence_index(tokens, setting.vocab_size).bincount(minlength=len(law))
    return chi_square(counts, law)


def chi_square(counts: Tensor, law: Tensor) -> float:
    """p-value of Pearson's test. Cells that expect fewer than 10 are merged; one of probability 0 may not occur."""
    if counts[law == 0].any():
        return 0.0
    expected, order = (law.double() * counts.sum()).sort()
    seen = counts.double()[order]
    rare = int((expected < 10).sum())
    while 0 < rare < len(expected) and expected[:rare].sum() < 10:
        rare += 1
    if rare:
        expected = torch.cat([expected[:rare].sum(0, keepdim=True), expected[rare:]])
        seen = torch.cat([seen[:rare].sum(0, keepdim=True), seen[rare:]])
    expected, seen = expected[expected > 0], seen[expected > 0]
    if len(expected) == 1:
        return 1.0
    statistic = ((seen - expected) ** 2 / expected).sum()
    return float(chi2.sf(float(statistic), len(expected) - 1))


def seed_of(*parts: object) -> int:
    """A fixed seed per test."""
    return crc32("/".join(map(str, parts)).encode())
