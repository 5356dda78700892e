"""What all trainings share: worker processes, a budget with its learning-rate curve, log, checkpoints.

A worker is one process on one thread with its own clips; gradients are averaged after each step. On two cores
this trains 1.7 times as many clips a second as one process on two threads. On a GPU there is one worker.
"""

import argparse
import copy
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from vidjacobi.errors import BadInput

COOLDOWN = 0.25  # last share of the budget, in which the learning rate falls
AVERAGED_STEPS = 1000  # at most so many stand in the running mean of the weights
STEPS_BETWEEN_CHECKS = 20  # of the loss: each check waits for a GPU


@dataclass
class Budget:
    """Training ends after ``steps`` or ``minutes``, whichever comes first; time counts over all restarts."""

    steps: int
    minutes: float
    step: int = 0
    seconds: float = 0.0

    @property
    def progress(self) -> float:
        """Share of the budget used, 0 to 1."""
        return min(1.0, max(self.step / self.steps, self.seconds / 60 / self.minutes))

    def learning_rate(self, peak: float, warmup: int) -> float:
        """Linear warm-up over ``warmup`` steps, the peak, and over the last part a cosine down to 1 % of it.

        So a training that is lengthened before its last part has lost nothing.
        """
        late = max(0.0, self.progress - (1 - COOLDOWN)) / COOLDOWN
        cosine = 0.5 + 0.5 * math.cos(math.pi * late)
        return peak * min(1.0, (self.step + 1) / warmup) * max(0.01, cosine)


def launch(train: Callable[[int, argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """Run ``train(rank, arguments)`` in ``arguments.workers`` processes that can average gradients.

    Raises BadInput for several workers on a GPU, or a GPU that is not there.
    """
    if arguments.workers is None:
        arguments.workers = 2 if arguments.device == "cpu" else 1
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("no GPU is visible to torch: leave --device cuda out, or install a torch with CUDA")
    if arguments.device == "cuda" and arguments.workers != 1:
        raise BadInput(f"--workers {arguments.workers}: a GPU has one worker; raise --batch instead")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_worker, (train, arguments, f"{folder}/store"), nprocs=arguments.workers)


def _worker(rank: int, train: Callable[..., None], arguments: argparse.Namespace, store: str) -> None:
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True  # pieces and whole clips, nothing else
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=arguments.workers)
    train(rank, arguments)
    dist.destroy_process_group()


class OptimizerLike(Protocol):
    """What a TrainingRun asks of an optimiser."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TrainingRun:
    """The folder of one training: ``log.txt`` and ``last.pt`` (weights, optimiser, budget). Rank 0 writes.

    ``average`` is the network with the running mean of the weights, which is what is judged and shipped. ``beside``
    is what else must be kept to resume: networks and optimisers by name.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: OptimizerLike,
        budget: Budget,
        beside: Mapping[str, nn.Module | torch.optim.Optimizer] | None = None,
    ) -> None:
        self.folder, self.model, self.optimizer, self.budget = folder, model, optimizer, budget
        self.beside = beside or {}
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.writes = dist.get_rank() == 0
        folder.mkdir(parents=True, exist_ok=True)
        self.tick = time.time()
        self.loss = torch.zeros(())
        if dist.get_world_size() > 1:
            for parameter in model.parameters():
                dist.broadcast(parameter.data, src=0)
        self.average.load_state_dict(model.state_dict())
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", weights_only=True, map_location="cpu")
            model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            budget.step, budget.seconds = state["step"], state["seconds"]
            for name, part in self.beside.items():
                part.load_state_dict(state["beside"][name])
            self.log(f"resumed at step {budget.step}")

    def log(self, message: str) -> None:
        """One line to the log and the terminal."""
        if not self.writes:
            return
        line = f"{time.strftime('%H:%M:%S')} step {self.budget.step} {message}"
        print(line, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(line + "\n")

    def save(self) -> None:
        """Write ``last.pt``, whole or not at all. Raises ``FloatingPointError`` as ``check`` does."""
        self.check()
        if not self.writes:
            return
        state: dict[str, Any] = {
            "spec": self.model.spec.to_config(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.budget.step,
            "seconds": self.budget.seconds,
            "beside": {name: part.state_dict() for name, part in self.beside.items()},
        }
        torch.save(state, self.folder / "last.part")
        os.replace(self.folder / "last.part", self.folder / "last.pt")

    def step(self, loss: torch.Tensor, rate: float) -> None:
        """One update with the workers' mean gradient, clipped to norm 1, and the budget's count of it.

        Raises ``FloatingPointError`` if the loss is not finite, at the latest ``STEPS_BETWEEN_CHECKS`` steps later.
        """
        self.loss = loss.detach()
        if self.budget.step % STEPS_BETWEEN_CHECKS == 0:
            self.check()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(list(self.model.parameters()))
        self.budget.seconds = self._elapsed()
        self.budget.step += 1
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        self.optimizer.step()
        self._average_weights()

    def check(self) -> None:
        """Raises ``FloatingPointError`` if the last loss was not finite: ``last.pt`` stays as it was."""
        if not torch.isfinite(self.loss):
            raise FloatingPointError(
                f"the loss is {self.loss.item()}: lower the learning rate and resume from last.pt"
            )

    @torch.no_grad()
    def _average_weights(self) -> None:
        """A mean over about the last tenth of the steps so far, at most over ``AVERAGED_STEPS`` of them."""
        # exponential moving average with a rate that falls from 10/11, so that early weights are soon forgotten
        share = max(10 / (self.budget.step + 10), 1 / AVERAGED_STEPS)
        pairs = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(*pairs, share)

    def _elapsed(self) -> float:
        """Seconds of training so far as rank 0 counts them, so that all workers end together."""
        now = time.time()
        clock = torch.tensor([self.budget.seconds + now - self.tick], dtype=torch.float64)
        self.tick = now
        dist.broadcast(clock, src=0)
        return float(clock)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the workers, in one message."""
    if dist.get_world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def trained_state(checkpoint: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(config of the network, averaged weights) of a ``last.pt``. Raises BadInput if there is none."""
    if not checkpoint.exists():
        raise BadInput(f"no {checkpoint}: train first")
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return state["spec"], state["average"]


def working_arguments(description: str) -> argparse.ArgumentParser:
    """The options of everything that runs in workers over the rendered clips."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("runs/nano/data"))
    parser.add_argument("--out", type=Path, help="runs/MODEL/PART by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, help="processes, one thread each; 2 by default, 1 on a GPU")
    return parser


def training_arguments(description: str) -> argparse.ArgumentParser:
    """The options all trainings have."""
    parser = working_arguments(description)
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="stop after so many minutes, restarts included"
    )
    parser.add_argument("--batch", type=int, default=1, help="clips of one worker's step")
    parser.add_argument("--seed", type=int, default=0)
    return parser
