"""``vidjacobi rollout --stream``: folders that are there from the start, and videos that play while they grow."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import write_json
from vidjacobi.output.run_folder import still_there
from vidjacobi.rollouts.clip_job import ClipJob
from vidjacobi.rollouts.files import (
    PLAIN,
    RECORD,
    SHEET,
    VIDEO,
    Extras,
    Say,
    describe,
    rollout_record,
    run_folder,
    sample_names,
    summary_of,
    write_numbers,
    write_page_of,
)
from vidjacobi.rollouts.stream import FrameGroup, RolloutStream, RolloutSummary
from vidjacobi.shapes import Frames
from vidjacobi.video.contact_sheet import chosen_frames, save_sheet, sheet_of, true_pictures
from vidjacobi.video.side_by_side import SideBySide
from vidjacobi.video.writer import GrowingVideo

_LIMIT = 20  # frames of the contact sheet: the only ones that are kept


class LiveFolder:
    """The folder of one sample while it grows: the context is in its videos from the start.

    ``rollout.json`` lists the groups that are there; ``finished`` is false in it until everything is.
    """

    def __init__(self, folder: Path, job: ClipJob, sample: int, context: Frames, extras: Extras) -> None:
        self.folder, self._job, self._sample, self._extras = folder, job, sample, extras
        self._context, self._frames = len(context), len(context) + job.config.frames
        self._chosen = set(chosen_frames(self._frames, self._context, _LIMIT))
        self._pictures: dict[int, torch.Tensor] = {}  # of the contact sheet, by frame number
        self._landed: list[dict[str, Any]] = []
        self._pictures_of = SideBySide(self._context, job.truth, extras.view)
        self._video = GrowingVideo(folder / VIDEO, job.clip.fps)  # the first one that users look for
        self._plain = GrowingVideo(folder / PLAIN, job.clip.fps)
        self._append(context)
        self._write_state()  # from now on the folder says that it is a rollout's, and unfinished

    @property
    def wanted(self) -> int:
        """How many frames are to follow the context."""
        return self._frames - self._context

    @property
    def predicted(self) -> int:
        """How many frames after the context are in the video."""
        return self._plain.frames - self._context

    def add(self, group: FrameGroup) -> str:
        """Append a group; returns a line that says so."""
        self._append(group.frames)
        seconds = round(group.seconds, 4)
        self._landed.append({"first": group.first, "frames": len(group.frames), "seconds": seconds})
        self._write_state()
        which = f"{group.first}..{group.first + len(group.frames) - 1} of {self._job.config.frames}"
        return f"{self.folder}: predicted frames {which} after {group.seconds:.1f} s"

    def finish(self, rolled: RolloutSummary) -> dict[str, Any]:
        """Write the rest; returns the record."""
        truth = true_pictures(self._pictures, self._context, self._job.truth)
        save_sheet(self.folder / SHEET, sheet_of(self._pictures, self._context, truth))
        record = {**rollout_record(self._job, rolled, self._sample), **self._state(finished=True)}
        return write_numbers(self.folder, record, rolled, self._sample, self._extras)

    def _append(self, frames: Frames) -> None:
        first = self._plain.frames
        for number, frame in enumerate(frames, first):
            if number in self._chosen:
                self._pictures[number] = frame.clone()  # a view would keep the whole group in memory
        self._video.add(self._pictures_of.show(frames, first))
        self._plain.add(frames)

    def _state(self, finished: bool) -> dict[str, Any]:
        first = self._landed[0]["seconds"] if self._landed else None
        return {"finished": finished, "seconds_to_first_frames": first, "landed": self._landed}

    def _write_state(self) -> None:
        job = self._job
        asked = {"source": job.clip.source, "sample": self._sample, "seed": job.config.seed}
        counts = {"context_frames": self._context, "predicted_frames": self.predicted}
        settings = {"config": asdict(job.config), "decoder": asdict(job.decoder)}
        write_json(self.folder / RECORD, {**asked, **counts, **self._state(finished=False), **settings})


def write_live(
    folder: Path,
    job: ClipJob,
    stream: RolloutStream,
    extras: Extras,
    overwrite: bool,
    say: Say,
    say_done: Say,
) -> list[dict[str, Any]]:
    """Write all samples of one clip as their frames come: into the folder itself, or sample-K folders of it.

    Whatever stops it (an interruption, a model that breaks) leaves videos that play and says how long they are.
    ``say`` takes what happens on the way, ``say_done`` what each finished sample took. Returns each sample's summary.
    Raises BadOutput, also where another run makes or replaces the folder meanwhile.
    """
    run_folder(folder).restart(overwrite)
    live: list[LiveFolder] = []
    with still_there(folder) as check:
        try:
            for sample, name in enumerate(sample_names(job.config.samples)):
                (folder / name).mkdir(exist_ok=True)
                live.append(LiveFolder(folder / name, job, sample, stream.context, extras))
            with stream:
                for group in stream:
                    check()
                    say(live[group.sample].add(group))
            check()
        except BaseException:  # Ctrl-C too: say what is there, then let it through
            _leave(folder, live, check, say)
            raise
        records = [one.finish(stream.summary) for one in live]
    for record, one in zip(records, live, strict=True):
        say_done(describe(record, one.folder))
    if extras.html:
        write_page_of(folder, folder.name, job, stream.context, records)
    return [summary_of(record, one.folder) for record, one in zip(records, live, strict=True)]


def _leave(folder: Path, live: list[LiveFolder], check: Callable[[], None], say: Say) -> None:
    """Say what there is of a run that was stopped; remove ``folder`` if nothing is. Not where it is another run's."""
    with suppress(BadOutput):
        check()
        if not live:  # not even a context could be written, such as on a full disk
            shutil.rmtree(folder, ignore_errors=True)
        for one in live:
            there = f"{one.predicted} of {one.wanted} predicted frames"
            say(
                f"{one.folder}: stopped; {VIDEO} plays and holds the context and {there} ({RECORD}: unfinished)"
            )
