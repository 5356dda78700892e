"""Train the transformer of nano-pusht on the tokens of the recorded episodes, windows of 8 frames with their actions.

First encodes what is not yet encoded, then trains. Held-out losses with the true actions and with those of other
clips, on tokens that change and that stay, go to ``log.txt`` every five minutes, the weights to ``last.pt`` every
minute; the same call resumes where a stopped one was.

    python scripts/nano pusht-transformer --minutes 65         # two cores
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cosmos_adapter.transformer.network import initialise
from scripts.nano.pusht.encode_pushes import TokenStore, add_folders, encode_splits, load_token_store
from scripts.nano.pusht.pusht_sizes import FRAMES, PATCHES, TRANSFORMER
from scripts.nano.train.train_transformer import build_optimizer, digit_features
from scripts.nano.train.training_run import Budget, TrainingRun, launch, training_arguments
from vidjacobi.families.pusht_network import PushTNetwork, PushTSpec

SHARED = {
    "trunk.tok_embeddings": 0.2,
    "near": 0.5,
    "trunk.output": 0.03,
}  # tables whose rows share by digits, and their scale
OWN_SCALE = 0.02  # of what each row has for itself
NO_ACTIONS = 0.05  # share of the windows whose actions are not told
NOISE = 0.06  # share of moving tokens of the past that are fed as a neighbouring code
QUIET, NEAR = 0.1, 0.5  # how often a token that stays is judged, and one beside a token that changes
WATCHED = 48  # held-out windows


class SharedByDigits(nn.Module):
    """Rows of a table as a map of the digits of their code, plus what is their own: rare codes learn from others."""

    def __init__(self, features: Float[Tensor, "v f"], width: int, scale: float, seed: int) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(features.shape[1], width, generator=generator) * (
            scale / features.shape[1] ** 0.5
        )
        self.mix = nn.Parameter(start)

    def forward(self, own: Float[Tensor, "v d"]) -> Float[Tensor, "v d"]:
        with torch.autocast(own.device.type, enabled=False):
            return torch.addmm(own, self.features, self.mix)


def build_push_network(spec: PushTSpec, levels: tuple[int, ...], seed: int) -> PushTNetwork:
    """A fresh network whose tables share by digits; see ``plain_state`` for the way back."""
    net = PushTNetwork(spec)
    initialise(net, seed=seed)
    nn.init.zeros_(net.unacted)
    features = digit_features(levels)
    for number, (name, scale) in enumerate(SHARED.items()):
        table = net.get_submodule(name)
        nn.init.normal_(table.weight, std=OWN_SCALE, generator=torch.Generator().manual_seed(seed + number))
        shared = SharedByDigits(features, table.weight.shape[1], scale, seed + 10 + number)
        parametrize.register_parametrization(table, "weight", shared)
    return net


def plain_state(state: dict[str, Tensor], levels: tuple[int, ...]) -> dict[str, Tensor]:
    """The weights of a trained network with tables as they are used."""
    features, found = digit_features(levels), dict(state)
    for name in SHARED:
        inside = f"{name}.parametrizations.weight"
        own, mix = found.pop(f"{inside}.original"), found.pop(f"{inside}.0.mix")
        found[f"{name}.weight"] = torch.addmm(own, features, mix)
    return found


@dataclass(frozen=True)
class PushWindows:
    """A batch of windows.

    Attributes:
        fed: tokens that are fed, some of them noisy; ``tokens``: as they are.
        actions: NaN where they are not told.
    """

    fed: Int[Tensor, "b n"]
    tokens: Int[Tensor, "b n"]
    actions: Float[Tensor, "b g k"]

    @property
    def changed(self) -> Bool[Tensor, "b g p"]:
        """Which tokens of the frames but the first are others than in the frame before."""
        frames = self.tokens.unflatten(1, (self.actions.shape[1] + 1, -1))
        return frames[:, 1:] != frames[:, :-1]


class WindowDraws:
    """Random windows, those in which the agent is at the T more often."""

    def __init__(self, store: TokenStore, levels: tuple[int, ...], frames: int = FRAMES) -> None:
        self.store, self.levels, self.frames = store, levels, frames
        starts = store.tokens.shape[1] - frames + 1
        touching = np.stack([store.touching[:, s : s + frames].mean(1) for s in range(starts)], 1)
        self.cumulated = np.cumsum(0.25 + touching)
        self.starts = starts
        flat = store.tokens.flatten(0, 1)[:: max(1, len(store.tokens) // 64)]
        self.usual = flat.mode(0).values  # the code of each place when nothing is there

    def draw(self, count: int, rng: np.random.Generator) -> PushWindows:
        """A batch."""
        chosen = np.searchsorted(self.cumulated, rng.random(count) * self.cumulated[-1])
        return self.at(chosen // self.starts, chosen % self.starts, rng)

    def at(self, episodes: np.ndarray, starts: np.ndarray, rng: np.random.Generator | None) -> PushWindows:
        """The windows that begin at some frames; without ``rng`` as they are."""
        pairs = list(zip(episodes, starts, strict=True))
        tokens = torch.stack([self.store.tokens[e, s : s + self.frames] for e, s in pairs])
        actions = torch.stack([self.store.actions[e, s : s + self.frames - 1] for e, s in pairs])
        fed = tokens
        if rng is not None:
            fed = torch.where(self._noisy(tokens, rng), self._beside(tokens, rng), tokens)
            untold = torch.from_numpy(rng.random(len(tokens)) < NO_ACTIONS)[:, None, None]
            actions = torch.where(untold, torch.nan, actions)
        return PushWindows(fed.flatten(1), tokens.flatten(1), actions)

    def _noisy(self, tokens: Int[Tensor, "b f p"], rng: np.random.Generator) -> Bool[Tensor, "b f p"]:
        return torch.from_numpy(rng.random(tokens.shape) < NOISE) & (tokens != self.usual)

    def _beside(self, tokens: Int[Tensor, "b f p"], rng: np.random.Generator) -> Int[Tensor, "b f p"]:
        """Codes with one digit one more or less."""
        which = torch.from_numpy(rng.integers(0, len(self.levels), tokens.shape))
        step = torch.from_numpy(rng.choice([-1, 1], tokens.shape))
        values = torch.tensor([int(np.prod(self.levels[:i])) for i in range(len(self.levels))])[which]
        levels = torch.tensor(self.levels)[which]
        digit = (tokens // values) % levels
        return tokens + (torch.minimum((digit + step).clamp(min=0), levels - 1) - digit) * values


def token_losses(
    net: PushTNetwork, windows: PushWindows, judged: Bool[Tensor, "b g p"] | None = None
) -> Float[Tensor, " m"]:
    """Negative log-likelihood in nats of the tokens of all frames but the first, or of those ``judged``."""
    first = net.grid.frame_tokens
    with torch.autocast("cpu", torch.bfloat16):
        hidden = net(windows.fed, windows.actions)[:, first - 1 : -1].flatten(0, 1)
        targets = windows.tokens[:, first:].flatten()
        if judged is not None:
            chosen = judged.flatten().nonzero()[:, 0]
            hidden, targets = hidden[chosen], targets[chosen]
        logits = net.head(hidden[None])[0]
    return F.cross_entropy(logits.float(), targets, reduction="none")


def training_loss(net: PushTNetwork, windows: PushWindows, rng: np.random.Generator) -> Tensor:
    """Mean loss of a token. Most tokens stay as they were: of these a few stand for all."""
    changed = windows.changed
    square = changed.float().unflatten(2, (net.grid.h, net.grid.w))
    near = F.max_pool2d(square, 3, 1, 1).flatten(2) > 0
    chance = torch.where(changed, 1.0, torch.where(near, NEAR, QUIET))
    judged = torch.from_numpy(rng.random(changed.shape)) < chance
    losses = token_losses(net, windows, judged)
    return (losses / chance[judged]).sum() / changed.numel()


@torch.no_grad()
def heldout_words(net: PushTNetwork, draws: WindowDraws, count: int) -> str:
    """Losses of held-out windows with true and with other clips' actions."""
    rng = np.random.default_rng(0)
    episodes = np.arange(count) % len(draws.store.tokens)
    windows = draws.at(episodes, rng.integers(0, draws.starts, count), None)
    others = torch.roll(windows.actions, len(windows.actions) // 2, 0)
    changed, words = windows.changed.flatten(), []
    for name, actions in (("true", windows.actions), ("shuffled", others)):
        parts = zip(windows.tokens.split(16), actions.split(16), strict=True)
        losses = torch.cat([token_losses(net, PushWindows(part, part, own)) for part, own in parts])
        frame = losses.mean() * net.grid.frame_tokens
        words.append(
            f"{name} actions: {frame:.2f} nats a frame, changed tokens {losses[changed].mean():.3f}, "
            f"others {losses[~changed].mean():.4f}"
        )
    return f"{'; '.join(words)}; {changed.float().mean():.3f} of the tokens change"


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker: encode its share, then train."""
    encode_splits(rank, arguments)
    torch.distributed.barrier()
    net = build_push_network(TRANSFORMER, PATCHES.levels, arguments.seed)
    budget = Budget(arguments.steps, arguments.minutes)
    training = TrainingRun(arguments.out, net, build_optimizer(net), budget)
    draws = WindowDraws(load_token_store(arguments.data, arguments.out, "train"), PATCHES.levels)
    heldout = WindowDraws(load_token_store(arguments.data, arguments.out, "heldout"), PATCHES.levels)
    shipped = sum(p.numel() for p in PushTNetwork(TRANSFORMER).parameters())
    training.log(f"{shipped:,} parameters, {len(draws.store.tokens)} episodes")
    rng = np.random.default_rng([arguments.seed, rank, budget.step])
    reported = evaluated = since = time.time()
    begun = budget.step
    while budget.progress < 1:
        loss = training_loss(net, draws.draw(arguments.batch, rng), rng)
        training.step(loss, budget.learning_rate(arguments.rate, warmup=arguments.warmup))
        if time.time() - reported > 60:
            speed = (
                (budget.step - begun)
                * arguments.batch
                * TRANSFORMER.trunk.grid.tokens
                / (time.time() - since)
            )
            training.log(
                f"loss {loss.item():.4f}, {speed:.0f} tokens/s a worker, {budget.seconds / 60:.1f} minutes"
            )
            training.save()
            reported = since = time.time()
            begun = budget.step
        if training.writes and time.time() - evaluated > 300:
            training.log(f"held-out: {heldout_words(training.average, heldout, WATCHED)}")
            evaluated = time.time()
    training.save()
    if training.writes:
        training.log(f"FINAL held-out: {heldout_words(training.average, heldout, 4 * WATCHED)}")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    add_folders(options)
    options.add_argument("--steps", type=int, default=1_000_000, help="stop after so many steps")
    options.add_argument("--rate", type=float, default=4e-3)
    options.add_argument("--warmup", type=int, default=60, help="steps")
    options.set_defaults(batch=8)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(train, arguments)
