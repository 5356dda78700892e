"""Decoding the same contexts with several decoders and windows in turn, beside AR, in one run that can be resumed."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.acting import acted_family
from vidjacobi.bench.acceptance_map import write_map
from vidjacobi.bench.bench_folder import ROWS
from vidjacobi.bench.clip_actions import chosen
from vidjacobi.bench.decode_rows import AR, MEASUREMENTS, DecodeKey, Measurement, read, tokens_file
from vidjacobi.bench.likelihood import Watched, score
from vidjacobi.bench.material import SHIPPED, Material, Source, material_of
from vidjacobi.bench.settings import BenchCase, BenchConfig, cases_of, lane_rule
from vidjacobi.config.decoder import load_decoder
from vidjacobi.decoding.api import decode
from vidjacobi.decoding.compiled import check_mode
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import number_of
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.models.protocol import flatten
from vidjacobi.output.run_folder import safe_name
from vidjacobi.output.token_files import read_tokens, write_tokens
from vidjacobi.processes import end_with_parent
from vidjacobi.runtime import choose

MAP_WINDOW = 64  # the window of the acceptance map of a decoder, if it ran at this window


@dataclass(frozen=True)
class Bench:
    """A bench, the source of its contexts, and the opened folder that it adds to.

    Attributes:
        decode_with: the function that decodes. Workers are sent it by its name, so it must be a module's.
    """

    config: BenchConfig
    out: Path
    source: Source = SHIPPED
    decode_with: Callable[..., Decoded] = decode

    @property
    def cases(self) -> list[BenchCase]:
        """All decoders at all windows. AR is the first, because others are compared with its tokens."""
        return [BenchCase(load_decoder(AR)), *cases_of(self.config)]

    def count(self) -> int:
        """The number of clips, for each model."""
        return len(self.source.clips) or self.config.clips


@dataclass(frozen=True)
class PendingBatch:
    """The decodes of a batch of clips with one model and seed that are still to be done, AR's first."""

    model: str
    seed: int
    todo: tuple[tuple[BenchCase, tuple[int, ...]], ...]  # each with the clips that it has not decoded yet


def check(bench: Bench) -> None:
    """Raise InvalidArgument for models and clips that cannot be run, before anything is decoded."""
    for name in bench.config.models:
        acted_family(name, one_chunk=True)
    runtime = choose(bench.config.device, bench.config.dtype)
    check_mode(bench.config.compile, runtime.device)
    for case in bench.cases:
        bench.config.sampling(0).resolve(case.decoder.temperature).check_range(runtime.dtype)
    for name in bench.config.models:
        material_of(name, bench.config, bench.source)


def print_progress(line: str) -> None:
    """Print on standard error. It is sent to workers, so it must be a function that has a name in its module."""
    print(line, file=sys.stderr, flush=True)


def run(bench: Bench, tell: Callable[[str], None]) -> Iterator[int]:
    """Decode what ``bench.csv`` does not hold yet, and add it there.

    Yields the number of batches of clips that are left, after each batch, or once where nothing is to be done.
    ``tell`` gets a line of text after each decode.
    """
    groups = pending(bench)
    places = [f"{index + 1}/{len(groups)}" for index in range(len(groups))]
    if not groups:
        yield 0
    elif bench.config.workers == 1:
        for index, group in enumerate(groups):
            run_group(bench, group, places[index], tell)
            yield len(groups) - 1 - index
    else:
        yield from share(bench, groups, places, tell)


def pending(bench: Bench) -> list[PendingBatch]:
    """The batches that ``bench.csv`` does not hold yet."""
    # A decode is done if its row and its tokens are both there; after a crash one of them may be missing.
    done = {row.key for row in read(bench.out / ROWS) if tokens_file(bench.out, row.key).exists()}
    return plan(bench, done)


def share(
    bench: Bench, groups: Sequence[PendingBatch], places: Sequence[str], tell: Callable[[str], None]
) -> Iterator[int]:
    """Run batches of clips in several processes. ``tell`` must be a function of a module, so that it can be sent."""
    threads = max(1, torch.get_num_threads() // bench.config.workers)
    # "spawn": forked processes would share the threads and locks of torch in an undefined state.
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
    """Prepare a worker: it gets its share of the threads, and it ends when its parent does."""
    torch.set_num_threads(threads)
    end_with_parent()


def plan(bench: Bench, done: set[DecodeKey]) -> list[PendingBatch]:
    """The batches with what each lacks, seed by seed, so that a bench that is stopped early has many clips."""
    config, groups = bench.config, []
    starts = range(0, bench.count(), config.batch)
    for model in config.models:
        for seed in config.seeds:
            for turn, first in enumerate(starts):
                clips = range(first, min(first + config.batch, bench.count()))
                ar, *cases = bench.cases
                # Each batch begins with another decoder (a b c, b c a, c a b, ...), so that none always runs when the
                # machine is warm or cold.
                turned = cases[turn % len(cases) :] + cases[: turn % len(cases)] if cases else []
                todo = []
                for case in [ar, *turned]:
                    missing = tuple(clip for clip in clips if (model, *case.key, seed, clip) not in done)
                    if missing:
                        todo.append((case, missing))
                if todo:
                    groups.append(PendingBatch(model, seed, tuple(todo)))
    return groups


def run_group(bench: Bench, group: PendingBatch, place: str, tell: Callable[[str], None]) -> None:
    """Decode one batch of clips with every decoder that it lacks, measure, and add the rows."""
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
    bench: Bench, group: PendingBatch, case: BenchCase, clips: Sequence[int], material: Material
) -> list[Measurement]:
    """The rows of one decode of a batch, with likelihoods."""
    config, (model, _) = bench.config, material.pair
    contexts = flatten(model, material.grids[list(clips)])
    given = chosen(material.conditions, clips)
    # Only lossy decoders decide by probs other than the model's own, so only their logits need to be kept.
    watched = Watched() if case.decoder.guarantee == "lossy" else None
    ask = partial(
        bench.decode_with,
        model,
        contexts,
        material.new_tokens,
        case.decoder,
        sampling=config.sampling(group.seed),
        conditions=given,
    )
    shape = (*case.key, len(clips))
    if config.compile != "off" and shape not in material.warm:
        ask()  # compiles and captures, so that this is not in the seconds of the measured passes
        material.warm.add(shape)
    decoded = ask(measure=True, watch=watched)
    for clip, tokens in zip(clips, decoded.tokens, strict=True):
        write_tokens(tokens_file(bench.out, (group.model, *case.key, group.seed, clip)), tokens.cpu().numpy())
    oracle = tokens_of_ar(bench, group, clips)
    whole = torch.cat([contexts, decoded.tokens], 1)
    likelihood = score(model, whole, material.new_tokens, config.sampling(group.seed), watched, given)
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


def tokens_of_ar(bench: Bench, group: PendingBatch, clips: Sequence[int]) -> Int[Tensor, "b n"]:
    """What one-by-one decoding decided for the same clips and seed."""
    files = [tokens_file(bench.out, (group.model, AR, 1, group.seed, clip)) for clip in clips]
    return torch.stack([torch.from_numpy(read_tokens(file, 1)) for file in files])


def map_cases(bench: Bench) -> set[tuple[str, int]]:
    """(decoder, window) of the acceptance maps: MAP_WINDOW or, without it, the middle one of a decoder's windows."""
    windows: dict[str, list[int]] = {}
    for name, window in (case.key for case in bench.cases[1:]):
        windows.setdefault(name, []).append(window)
    return {
        (name, MAP_WINDOW if MAP_WINDOW in found else found[len(found) // 2])
        for name, found in windows.items()
    }


def draw_map(
    bench: Bench, case: BenchCase, clips: Sequence[int], material: Material, decoded: Decoded
) -> None:
    """Draw the acceptance map of the first clip, if it is in this batch."""
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
    title = f"{name}, window {window}: {number_of(decoded.stats.nfe[row], 'pass')}"
    title += f" for {number_of(new.numel(), 'token')}"
    path = bench.out / f"map_{safe_name(name)}.png"
    write_map(path, frames, decided_in, redrafted, tokenizer.stride_t, title)
