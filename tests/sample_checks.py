"""Samples of a decoder against the exact joint probs of the tiny model."""

from dataclasses import dataclass
from zlib import crc32

import torch
from scipy.stats import chi2
from torch import Tensor

from vidjacobi.decoding import autoregressive, jacobi
from vidjacobi.decoding.recipe import Clips, Recipe, Strategies
from vidjacobi.decoding.step import STEP, StepFunctions
from vidjacobi.decoding.trace import finish
from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.sampling.sampler import to_truncated_probs
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs
from vidjacobi.testing import SMALL, TinyVideoModel, joint_probs, sequence_index

SAMPLES = 100_000
SAMPLING = SamplingParams(temperature=1.0, top_p=0.95)


@dataclass(frozen=True)
class Setting:
    """A decode small enough to be enumerated."""

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

    def recipe(self, strategies: Strategies | None) -> Recipe:
        """Of AR where there are no strategies."""
        room = len(self.context) + self.new_tokens
        return Recipe(self.model, self.sampling, self.window, room, strategies)

    def clips(self, samples: int = SAMPLES, seed: int = 0) -> Clips:
        """One clip per sample; the clips differ by the keys of their noise only."""
        start = len(self.context)
        return Clips(
            context=torch.tensor(self.context).repeat(samples, 1),
            starts=torch.full((samples,), start),
            ends=torch.full((samples,), start + self.new_tokens),
            seeds=torch.full((samples,), seed),
            noise_keys=torch.arange(samples),
            new_tokens=self.new_tokens,
            shortest=start,
        )


def truncated(probs: Tensor) -> TruncatedProbs:
    """Dense probs as the record that decoders have, equal up to rounding."""
    return to_truncated_probs(probs.log(), SamplingParams(top_p=1.0))


def as_draft_probs(probs: Tensor) -> DraftProbs:
    """Dense probs as those of drafts."""
    return DraftProbs.of_pass(truncated(probs))


def p_value(
    setting: Setting,
    strategies: Strategies | None,
    seed: int = 0,
    samples: int = SAMPLES,
    using: StepFunctions = STEP,
) -> float:
    """How likely so large a distance from the joint probs is by chance; 0 if an impossible sequence came out.

    ``using``: the functions of a step, for decoders that are broken on purpose.
    """
    recipe, clips = setting.recipe(strategies), setting.clips(samples, seed)
    steps = jacobi.steps(recipe, clips, using=using) if strategies else autoregressive.steps(recipe, clips)
    tokens = finish(steps).tokens
    probs = joint_probs(setting.model, torch.tensor(setting.context), setting.new_tokens, setting.sampling)
    counts = sequence_index(tokens, setting.vocab_size).bincount(minlength=len(probs))
    return chi_square(counts, probs)


def chi_square(counts: Tensor, probs: Tensor) -> float:
    """p-value of Pearson's test. Cells that expect fewer than 10 are merged; one of probability 0 may not occur."""
    if counts[probs == 0].any():
        return 0.0
    expected, order = (probs.double() * counts.sum()).sort()
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
