"""The work of ``vidjacobi image``: check the whole request, load the model, decode rows of pictures, write each."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidjacobi.batch.settings import parse_shard
from vidjacobi.batch.threads import is_out_of_memory
from vidjacobi.cli.image_model import named, opened
from vidjacobi.cli.rollout_clips import ProgressBar
from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.config.image import ImageConfig
from vidjacobi.decoding.api import ClipId, decode, strategies_of
from vidjacobi.errors import BadOutput, InvalidArgument, number_of
from vidjacobi.models import hub
from vidjacobi.models.codec import to_uint8
from vidjacobi.output.run_folder import removed_if_empty
from vidjacobi.pictures.files import PICTURES, RECORD, SHEET, PictureFolder, check_folder, count_of, earlier
from vidjacobi.pictures.prompt_list import Entry
from vidjacobi.pictures.records import Drawn, describe, key_of, picture_record, summary_of
from vidjacobi.processes import Stopped, stoppable
from vidjacobi.provenance import files_at, made_with
from vidjacobi.runtime import Runtime, choose, versions

if TYPE_CHECKING:
    from vidjacobi.families.painters.contract import Painter, Subject


@dataclass(frozen=True)
class Output:
    """Where the results go, and which.

    Attributes:
        folder: of the run.
        resume, overwrite: what is done with an earlier run there.
        tokens: write codes of pictures too.
        quiet: no lines on the console.
    """

    folder: Path
    resume: bool
    overwrite: bool
    tokens: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Part:
    """What one process of a run makes: of ``count`` processes the ``index``-th.

    Attributes:
        bar: what it says goes there.
        signals: that stop it.
    """

    index: int
    count: int
    bar: Any
    signals: tuple[signal.Signals, ...]

    def of(self, wanted: Sequence["Wanted"], rows: int) -> list["Wanted"]:
        """Its share, in whole rows: what is decoded together with what does not depend on who does it."""
        # Rows of 2, two processes: the first makes pictures 0 1 4 5, the second 2 3 6 7.
        return [one for place, one in enumerate(wanted) if place // rows % self.count == self.index]

    def lock(self, shard: str) -> str:
        """What its lock is called."""
        return shard if self.count == 1 else f"{shard}-worker-{self.index}-of-{self.count}"


@dataclass(frozen=True)
class Wanted:
    """One picture of this run."""

    entry: Entry
    sample: int
    subject: "Subject"
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its files."""
        return self.entry.file_name(self.sample)

    @property
    def key(self) -> ClipId:
        """Of its noise."""
        return key_of(self.entry, self.described, self.sample)


def make_pictures(
    config: ImageConfig,
    decoder: DecoderConfig,
    entries: Sequence[Entry],
    output: Output,
    notes: Sequence[str] = (),
) -> tuple[dict[str, Any], int]:
    """Decode every picture of this shard that the folder does not hold yet; a summary of the new ones.

    The exit status stands beside it: 0, or 130 or 143 where a signal stopped the run. Raises VidjacobiError, before
    anything is loaded where the request alone shows that it cannot be done.
    """
    with removed_if_empty(output.folder), ProgressBar("image", config.rows, output.quiet) as bar:
        part = Part(0, 1, bar, (signal.SIGINT, signal.SIGTERM))
        found, status = make_part(config, decoder, entries, output, part, notes)
        if status == 0:
            tell_end(output.folder, bar)
    return found, status


def make_part(
    config: ImageConfig,
    decoder: DecoderConfig,
    entries: Sequence[Entry],
    output: Output,
    part: Part,
    notes: Sequence[str] = (),
) -> tuple[dict[str, Any], int]:
    """``make_pictures``, of one process's part."""
    outputs: list[dict[str, Any]] = []
    about: dict[str, Any] = {"out": str(output.folder)}
    status = 0
    strategies_of(decoder)  # builds its strategies, which refuse options that do not exist
    runtime, shard = choose(config.device, config.dtype), parse_shard(config.shard)
    family, path = named(config.model)
    mine, bar = list(shard.of(entries)), part.bar
    for note in notes:
        bar.say(f"note: {note}")
    if not mine:
        bar.say(f"no prompt falls to shard {shard}")
    check_folder(output.folder, output.resume, output.overwrite)
    painter = opened(config, family, path, runtime)
    for note in _notes_of(painter):
        bar.say(f"note: {note}")
    sampling, scale = config.sampling(painter.preset), config.scale(painter.preset)
    sampling.resolve(decoder.temperature).check_range(runtime.dtype)
    wanted = part.of(list(wanted_pictures(mine, painter, config.samples)), config.rows)
    folder = PictureFolder(
        output.folder,
        _settings(config, decoder, painter, runtime, path, output.folder),
        config.other_versions,
    )
    drawer = Drawer(config, decoder, painter, runtime, sampling, scale, output.tokens)
    with folder.opened(part.lock(config.shard), output.resume, output.overwrite):
        folder.check_names([one.name for one in wanted])
        todo = [one for one in wanted if folder.record_of(one.name, one.described) is None]
        if len(todo) < len(wanted):
            bar.say(f"{output.folder}: resumes: {number_of(len(wanted) - len(todo), 'picture')} done")
        about["there"] = len(wanted) - len(todo)
        try:
            with stoppable(*part.signals), finishing(folder, bar):
                for drawn in drawer.draw(todo, folder, bar):
                    outputs.append(drawn)
        except Stopped as stopped:
            bar.say(f"stopped by {stopped}; what was finished is kept, the same command resumes")
            status = stopped.status
    return {**about, "new": len(outputs), "outputs": outputs}, status


def _notes_of(painter: "Painter") -> list[str]:
    """What is odd about the model, the same in every process of a run."""
    lacks = painter.lacks_pixels
    missing = [] if lacks is None else [f"no pictures, only codes (NAME.npy): {lacks}"]
    return [*painter.notes, *missing]


def wanted_pictures(entries: Sequence[Entry], painter: "Painter", samples: int) -> Iterator[Wanted]:
    """Every picture; what is asked of each is checked. Raises InvalidArgument, which names the prompt."""
    from vidjacobi.families.painters.contract import Subject

    for entry in entries:
        subject = Subject(entry.prompt, entry.label, entry.index)
        try:
            described = painter.describe(subject)
        except InvalidArgument as error:
            raise InvalidArgument(f"prompt {entry.index}: {error}") from error
        told = {"prompt": entry.prompt, "label": entry.label, "id": entry.id, **described}
        told = {name: value for name, value in told.items() if value is not None}
        for sample in range(samples):
            yield Wanted(entry, sample, subject, told)


def _settings(
    config: ImageConfig, decoder: DecoderConfig, painter: "Painter", runtime: Runtime, path: Path, out: Path
) -> dict[str, Any]:
    """What ``image.json`` says of the whole run; files that an earlier one in ``out`` hashed are not read again."""
    files = files_at(path)
    for name in ("tokenizer", "text_encoder", "features"):
        if (given := getattr(config, name)) is not None:
            files |= files_at(hub.local(given), f"{name}: ")
    sampling = config.sampling(painter.preset)
    return {
        "config": {
            name: getattr(config, name) for name in ("model", "tokenizer", "text_encoder", "size", "seed")
        },
        "decoder": asdict(decoder),
        "sampling": {
            **{name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k")},
            "guidance": config.scale(painter.preset),
        },
        "made_with": made_with(files, runtime.dtype, earlier(out)),
        "device": str(runtime.device),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "dtype_reason": runtime.reason,
        "notes": _notes_of(painter),
        "versions": versions(),
    }


@contextmanager
def told_where_memory_ran_out(rows: int) -> Iterator[None]:
    """Raise InvalidArgument, which says what would take less, where the block ran out of memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = f"fewer --rows than {rows}, " if rows > 1 else ""
        raise InvalidArgument(
            f"{number_of(rows, 'picture')} at a time did not fit in memory: give {fewer}a smaller --window or --size"
        ) from error


@contextmanager
def finishing(folder: PictureFolder, bar: Any) -> Iterator[None]:
    """After the block, however it ends, write what is there; an error of the block is not lost over that."""
    try:
        yield
    except BaseException:
        try:
            folder.finish(describe)
        except BadOutput as error:
            bar.say(f"vidjacobi: {error}")
        raise
    folder.finish(describe)


def tell_end(out: Path, bar: Any) -> None:
    """Say what the folder holds by now."""
    there = SHEET if (out / SHEET).is_file() else RECORD
    bar.say_done(f"{out}: {number_of(count_of(out), 'picture')} in all; {out / there}")


@dataclass(frozen=True)
class Drawer:
    """Decodes pictures, some rows at a time."""

    config: ImageConfig
    decoder: DecoderConfig
    painter: "Painter"
    runtime: Runtime
    sampling: Any
    scale: float
    tokens: bool

    def draw(self, wanted: Sequence[Wanted], folder: PictureFolder, bar: Any) -> Iterator[dict[str, Any]]:
        """Decode and write all of them; the summary of each."""
        for first in range(0, len(wanted), self.config.rows):
            rows = wanted[first : first + self.config.rows]
            model = self.painter.model([one.subject for one in rows], self.scale)
            context = torch.tensor([model.prefix_tokens] * len(rows), device=model.device)
            keys = [one.key for one in rows]
            with told_where_memory_ran_out(len(rows)):
                found = decode(
                    model,
                    context,
                    self.painter.grid.tokens,
                    self.decoder,
                    sampling=self.sampling,
                    clip_ids=keys,
                    observe=bar,
                )
            for row, one in enumerate(rows):
                drawn = Drawn.of(found, row, self.painter)
                record = picture_record(
                    one.entry, one.described, one.sample, drawn, self.decoder, self.config.seed, self.scale
                )
                picture = None if drawn.pixels is None else to_uint8(drawn.pixels[:, None])[0].cpu().numpy()
                codes = drawn.codes if self.tokens or picture is None else None
                written = folder.write(one.name, record, picture, codes)
                place = folder.path / PICTURES
                bar.say_done(f"{place / written['files'][-1]}: {describe_numbers(written)}")
                yield summary_of(written, place)


def describe_numbers(record: Mapping[str, Any]) -> str:
    """What a picture cost, in a line."""
    seconds = record["seconds"]
    return (
        f"{number_of(record['new_tokens'], 'token')} in {number_of(record['nfe'], 'pass')} "
        f"({record['tokens_per_pass']:.1f} tokens a pass), decode {seconds['decode']:.1f} s, to pixels "
        f"{seconds['to_pixels']:.1f} s; guarantee {record['guarantee'].split(':')[0]}"
    )
