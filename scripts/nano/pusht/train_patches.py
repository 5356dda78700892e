"""Train the tokenizer of nano-pusht: pictures to codes patch by patch, and back.

Held-out errors go to ``log.txt`` every few minutes: of the pixels, of the places of agent and T that are read off the
drawn pictures, and how many patches that stay the same change their code. Weights go to ``last.pt`` every minute; the
same call resumes where a stopped one was. pusht-data may still record beside this.

    python scripts/nano pusht-tokenizer --minutes 28           # two cores
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scripts.nano.pusht.push_store import PushStore, draw_pictures, load_store
from scripts.nano.pusht.pusht_sizes import PATCHES, RUNS
from scripts.nano.train.training_run import Budget, TrainingRun, launch, training_arguments
from vidjacobi.eval.pusht_poses import Reading, read_pictures
from vidjacobi.families.pusht_pixels import PatchNetwork

FADE = 0.12  # first share of the budget, in which ever fewer pictures are drawn from latents that are not rounded
CONTACT = 0.45  # share of the pictures in which the agent is at the T
LOOKED_AT = 96  # held-out pictures whose poses are read


def initialise(net: PatchNetwork, seed: int) -> None:
    """Start values: residual blocks that add nothing, and places that differ a little."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if name.endswith("second.weight") or name.endswith("second.bias"):
            torch.nn.init.zeros_(parameter)
        elif name == "read_place":
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)


def pixel_weights(pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 s s"]:
    """How much each pixel counts: most is white, and what matters is the agent and the T."""
    red, blue = pixels[:, :1], pixels[:, 2:]
    agent = ((blue - red) / 2 - 0.2).clamp(0, 0.4) / 0.4
    things = F.max_pool2d((pixels[:, 1:2] < 0.8).to(pixels.dtype), 3, 1, 1)
    return 0.7 + 8 * agent + 4 * things


def drawing_loss(drawn: Float[Tensor, "b 3 s s"], pixels: Float[Tensor, "b 3 s s"]) -> Tensor:
    """Absolute and squared differences, weighted."""
    apart = drawn.float() - pixels
    return (pixel_weights(pixels) * (apart.abs() + 2 * apart.square())).mean()


def drawn_again(net: PatchNetwork, pixels: Float[Tensor, "b 3 s s"], free: float) -> Float[Tensor, "b 3 s s"]:
    """Pictures through codes and back; a share ``free`` of them skips the rounding.

    From zeroed residuals and with rounding from the first step on all patches fall into one code.
    """
    latents = net.latents(pixels)
    digits, _ = net.rounded(latents)
    if free > 0:
        half = torch.tensor([n // 2 for n in net.spec.levels]).view(1, -1, 1, 1)
        smooth = net.quantizer.bound(latents.float().unsqueeze(2)).squeeze(2) / half
        digits = torch.where(torch.rand(len(pixels), 1, 1, 1) < free, smooth, digits)
    return net.drawn(digits)


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training."""
    torch.manual_seed(arguments.seed + rank)
    net = PatchNetwork(PATCHES)
    initialise(net, arguments.seed)
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-4, betas=(0.9, 0.95), fused=True)
    training = TrainingRun(arguments.out, net, optimizer, Budget(arguments.steps, arguments.minutes))
    budget = training.budget
    training.log(f"{sum(p.numel() for p in net.parameters()):,} parameters")
    store, heldout = load_store(arguments.data, "train"), load_store(arguments.data, "heldout")
    rng = np.random.default_rng([arguments.seed, rank, budget.step])
    reported = evaluated = time.time()
    since, seen = time.time(), 0
    while budget.progress < 1:
        pixels = draw_pictures(store, arguments.batch, CONTACT, rng).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            drawn = drawn_again(net, pixels, 1 - budget.progress / FADE)
        training.step(drawing_loss(drawn, pixels), budget.learning_rate(arguments.rate, warmup=60))
        seen += len(pixels)
        if time.time() - reported > 60:
            speed = seen / (time.time() - since)
            training.log(
                f"loss {training.loss.item():.4f}, {speed:.0f} pictures/s a worker, {budget.seconds / 60:.1f} minutes"
            )
            training.save()
            store = load_store(arguments.data, "train")
            reported, since, seen = time.time(), time.time(), 0
        if training.writes and time.time() - evaluated > 300:
            training.log(f"held-out: {judged(training.average, heldout)}")
            evaluated = time.time()
    training.save()
    if training.writes:
        training.log(f"FINAL held-out: {judged(training.average, heldout)}")


@torch.no_grad()
def judged(net: PatchNetwork, store: PushStore) -> str:
    """A line of errors on held-out pictures: half of them where the agent touches the T."""
    counts: list[str] = []
    rng = np.random.default_rng(0)
    for name, touching in (("free", False), ("contact", True)):
        chosen = np.argwhere(store.touching == touching)
        chosen = chosen[rng.permutation(len(chosen))[: LOOKED_AT // 2]]
        pictures, states = store.frames(*chosen.T), store.states[tuple(chosen.T)]
        shown = through(net, pictures)
        squared = np.square(shown.astype(float) - pictures).mean()
        counts.append(
            f"{name} PSNR {10 * np.log10(255**2 / squared):.2f} dB, {pose_errors(read_pictures(shown), states)}"
        )
    return f"{'; '.join(counts)}; {flicker(net, store)}"


def through(net: PatchNetwork, pictures: np.ndarray) -> np.ndarray:
    """uint8 pictures ``[n s s 3]`` as they look after the tokenizer."""
    shown = []
    for part in np.array_split(pictures, max(1, len(pictures) // 64)):
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 127.5 - 1
        drawn = net.pixels_of(net.codes_of(pixels)).float().clamp(-1, 1)
        shown.append(((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(shown)


def pose_errors(reading: Reading, states: np.ndarray) -> str:
    """Errors in pixels of a 64-pixel picture: median and 99 % of agent and T."""
    agent = np.linalg.norm(reading.agent - states[:, :2], axis=1) / 8
    tee = np.linalg.norm(reading.tee[:, :2] - states[:, 2:4], axis=1) / 8
    found = [
        f"{name} {np.nanmedian(errors):.2f} / {np.nanpercentile(errors, 99):.2f} px"
        for name, errors in (("agent", agent), ("T", tee))
    ]
    left = np.nanmedian(reading.residual)
    return f"{', '.join(found)}, agents lost {reading.lost.mean():.3f}, residual {left:.3f}"


def flicker(net: PatchNetwork, store: PushStore, episodes: int = 8) -> str:
    """How many patches change from frame to frame, and how many codes, in moving and in still patches."""
    changed = same = moved = still = 0
    counts = torch.zeros(net.codes)
    for pictures in clips_of(store, episodes):
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        codes = net.codes_of(pixels)
        patches = F.pixel_unshuffle(pixels, net.stride)
        moves, turns = (patches[1:] != patches[:-1]).any(1), codes[1:] != codes[:-1]
        changed, same = changed + int((turns & moves).sum()), same + int((turns & ~moves).sum())
        moved, still = moved + int(moves.sum()), still + int((~moves).sum())
        counts += codes.flatten().bincount(minlength=net.codes)
    total = moved + still
    entropy = float(torch.distributions.Categorical(counts).entropy())
    return (
        f"codes that change {(changed + same) / total:.3f} (patches {moved / total:.3f}), in still patches "
        f"{same / max(still, 1):.5f}; {int((counts > 0).sum())} codes used, {entropy:.2f} nats"
    )


def clips_of(store: PushStore, episodes: int) -> Iterator[np.ndarray]:
    """All frames of some episodes."""
    for episode in range(0, len(store.states), max(1, len(store.states) // episodes)):
        times = np.arange(store.states.shape[1])
        yield store.frames(np.full_like(times, episode), times)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    options.add_argument("--steps", type=int, default=1_000_000, help="stop after so many steps")
    options.add_argument("--rate", type=float, default=1.5e-3)
    options.set_defaults(data=RUNS / "data", out=RUNS / "tokenizer", batch=32)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(train, arguments)
