"""Several decoders and windows on the same contexts, in one run, alternating, beside AR."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.bench.acceptance_map import write_map
from vidjacobi.bench.bench_folder import ROWS
from vidjacobi.bench.decode_rows import AR, MEASUREMENTS, DecodeKey, Measurement, read, tokens_file
from vidjacobi.bench.likelihood import Watched, score
from vidjacobi.bench.material import SHIPPED, Material, Source, material_of
from vidjacobi.bench.settings import BenchConfig, Case, cases_of, lane_rule
from vidjacobi.config.settings import load_decoder
from vidjacobi.decoding.api import decode
from vidjacobi.decoding.compiled import check_mode
from vidjacobi.decoding.trace import Decoded
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.models.protocol import flatten
from vidjacobi.output.atomic import replacing
from vidjacobi.output.names import safe_name
from vidjacobi.processes import end_with_parent
from vidjacobi.runtime import choose

MAP_WINDOW = 64  # of the acceptance maps, where a decoder ran at it


@dataclass(frozen=True)
class Bench:
    """A bench, where its contexts are from, and the opened folder that it adds to."""

    config: BenchConfig
    out: Path
    source: Source = SHIPPED

    @property
    def cases(self) -> list[Case]:
        """AR first."""
        return [Case(load_decoder(AR)), *cases_of(self.config)]

    def count(self) -> int:
        """Clips of each model."""
        return len(self.source.clips) or self.config.clips


@dataclass(frozen=True)
class Group:
    """The decodes of a batch of clips with one model and seed that are still to be done, AR's first."""

    model: str
    seed: int
    todo: tuple[tuple[Case, tuple[int, ...]], ...]  # with the clips that each is missing for


def check(bench: Bench) -> None:
    """Refuse, before anything is decoded, models and clips that cannot be run. Raises InvalidArgument."""
    runtime = choose(bench.config.device, bench.config.dtype)
    check_mode(bench.config.compile, runtime.device)
    for name in bench.config.models:
        material_of(name, bench.config, bench.source)


def run(bench: Bench, tell: Callable[[str], None]) -> Iterator[int]:
    """Decode what ``bench.csv`` does not hold yet, and add it there.

    Yields how many batches of clips are left: once where nothing was to be done, else after each.
    """
    done = {row.key for row in read(bench.out / ROWS) if tokens_file(bench.out, row.key).exists()}
    groups = plan(bench, done)
    places = [f"{index + 1}/{len(groups)}" for index in range(len(groups))]
    if not groups:
        yield 0
    elif bench.config.workers == 1:
        for index, group in enumerate(groups):
            run_group(bench, group, places[index], tell)
            yield len(groups) - 1 - index
    else:
        yield from share(bench, groups, places, tell)


def share(
    bench: Bench, groups: Sequence[Group], places: Sequence[str], tell: Callable[[str], None]
) -> Iterator[int]:
    """Batches of clips spread over processes; ``tell`` must be a module's function."""
    threads = max(1, torch.get_num_threads() // bench.config.workers)
    pool = ProcessPoolExecutor(bench.config.workers, get_context("spawn"), begin_worker, (threads,))
    try:
        tasks = [
            pool.submit(run_group, bench, group, place, tell)
            for group, place in zip(groups, places, strict=True)
        ]
        for index, task in enumerate(as_completed(tasks)):
            task.result()
            yield len(groups) - 1 - index
    finally:
        pool.shutdown(cancel_futures=True)


def begin_worker(threads: int) -> None:
    """Set up a worker: its threads, and that it ends with the bench."""
    torch.set_num_threads(threads)
    end_with_parent()


def plan(bench: Bench, done: set[DecodeKey]) -> list[Group]:
    """Batches with what is missing in each. Seed by seed, so that a bench that is stopped has many clips."""
    config, groups = bench.config, []
    starts = range(0, bench.count(), config.batch)
    for model in config.models:
        for seed in config.seeds:
            for turn, first in enumerate(starts):
                clips = range(first, min(first + config.batch, bench.count()))
                ar, *cases = bench.cases
                turned = cases[turn % len(cases) :] + cases[: turn % len(cases)] if cases else []
                todo = []
                for case in [ar, *turned]:
                    missing = tuple(clip for clip in clips if (model, *case.key, seed, clip) not in done)
                    if missing:
                        todo.append((case, missing))
                if todo:
                    groups.append(Group(model, seed, tuple(todo)))
    return groups


def run_group(bench: Bench, group: Group, place: str, tell: Callable[[str], None]) -> None:
    """Decode, measure and write one batch of clips with every decoder."""
    material = material_of(group.model, bench.config, bench.source)
    for case, clips in group.todo:
        measured = run_case(bench, group, case, clips, material)
        MEASUREMENTS.append(bench.out / ROWS, measured)
        passes = sum(row.nfe for row in measured) / len(measured)
        seconds = sum(row.seconds for row in measured)
        tell(
            f"{place} {group.model} seed {group.seed} clip {', '.join(map(str, clips))}: "
            f"{case.key[0]} {case.key[1]}: {passes:.1f} passes, {seconds:.1f} s"
        )


def run_case(
    bench: Bench, group: Group, case: Case, clips: Sequence[int], material: Material
) -> list[Measurement]:
    """One decode of a batch, and its likelihood."""
    config, (model, _) = bench.config, material.pair
    contexts = flatten(model, material.grids[list(clips)])
    watched = Watched() if case.decoder.guarantee == "lossy" else None
    ask = partial(
        decode,
        model,
        contexts,
        material.new_tokens,
        case.decoder,
        sampling=config.sampling(group.seed),
    )
    shape = (*case.key, len(clips))
    if config.compile != "off" and shape not in material.warm:
        ask()  # what is compiled or captured now is in no pass's seconds
        material.warm.add(shape)
    decoded = ask(measure=True, watch=watched)
    for clip, tokens in zip(clips, decoded.tokens, strict=True):
        keep_tokens(tokens_file(bench.out, (group.model, *case.key, group.seed, clip)), tokens)
    of_ar = [tokens_file(bench.out, (group.model, AR, 1, group.seed, clip)) for clip in clips]
    oracle = torch.stack([torch.from_numpy(np.load(file)) for file in of_ar])
    whole = torch.cat([contexts, decoded.tokens], 1)
    likelihood = score(model, whole, material.new_tokens, config.sampling(group.seed), watched)
    if case.key in map_cases(bench) and (group.model, group.seed) == (config.models[0], config.seeds[0]):
        draw_map(bench, case, clips, material, decoded)
    stats, share = decoded.stats, len(clips)
    return [
        Measurement(
            model=group.model,
            decoder=case.decoder.name,
            guarantee=stats.guarantee,
            lanes=lane_rule(case.decoder),
            seed=group.seed,
            clip=clip,
            window=case.decoder.window,
            nfe=stats.nfe[index],
            new_tokens=stats.new_tokens[index],
            positions=round(stats.positions[index], 4),
            seconds=round(stats.seconds / share, 5),
            forward_seconds=round(stats.forward_seconds / share, 5),
            ar_agreement=(decoded.tokens[index].cpu() == oracle[index]).double().mean().item(),
            nll=likelihood.nll[index].item(),
            excess=likelihood.excess[index].item(),
            kl=None if likelihood.kl is None else likelihood.kl[index].item(),
        )
        for index, clip in enumerate(clips)
    ]


def keep_tokens(file: Path, tokens: Int[Tensor, " n"]) -> None:
    """One decode's tokens, whole or not at all."""
    with replacing(file) as partial:
        np.save(partial, tokens.to("cpu", torch.int32).numpy())


def map_cases(bench: Bench) -> set[tuple[str, int]]:
    """For each decoder but AR the window of its acceptance map."""
    windows: dict[str, list[int]] = {}
    for name, window in (case.key for case in bench.cases[1:]):
        windows.setdefault(name, []).append(window)
    return {
        (name, MAP_WINDOW if MAP_WINDOW in found else found[len(found) // 2])
        for name, found in windows.items()
    }


def draw_map(bench: Bench, case: Case, clips: Sequence[int], material: Material, decoded: Decoded) -> None:
    """Acceptance map of the first clip, if it is among them."""
    if 0 not in clips:
        return
    row, (_, tokenizer) = list(clips).index(0), material.pair
    given = material.grids[0]
    new = decoded.tokens[row].unflatten(0, (-1, *given.shape[1:]))
    frames = tokens_to_frames(torch.cat([given, new]), tokenizer)
    decided_in, redrafted = (
        mark[row].view(new.shape) for mark in (decoded.trace.decided_in, decoded.trace.redrafted)
    )
    name, window = case.key
    title = f"{name}, window {window}: {decoded.stats.nfe[row]} passes for {new.numel()} tokens"
    path = bench.out / f"map_{safe_name(name)}.png"
    write_map(path, frames, decided_in, redrafted, tokenizer.stride_t, title)
