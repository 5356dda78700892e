"""The folder of a rollout: what it holds, and who may replace it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidjacobi.config.decoder import GUARANTEES
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import number_of
from vidjacobi.output.atomic import replacing_folder, write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.rollouts.api import Rollout
from vidjacobi.rollouts.clip_job import ClipJob
from vidjacobi.rollouts.stream import RolloutSummary
from vidjacobi.runtime import versions
from vidjacobi.shapes import Frames
from vidjacobi.video.contact_sheet import write_sheet
from vidjacobi.video.side_by_side import SideBySide, View
from vidjacobi.video.writer import write_pieces, write_video

# to watch, to measure, to print, and what was done
VIDEO, PLAIN, SHEET, RECORD, PAGE = "rollout.mp4", "plain.mp4", "sheet.png", "rollout.json", "rollout.html"
_PIECE = 8  # frames that are enlarged at a time
# The video to watch takes half the time of x264's "medium" at 16, looks the same (SSIM -0.0002 to 0.003 on five
# clips, docs/log/speed.md) and is a quarter larger.
_PRESET, _QUALITY = "veryfast", 14
# keys of a record that the command's last line repeats; only a streamed rollout has all
SUMMARY = ("nfe", "new_tokens", "tokens_per_pass", "seconds", "seconds_to_first_frames", "tokens_sha256")


Say = Callable[[str], None]  # takes one line for the console


@dataclass(frozen=True)
class Extras:
    """Files that are written only when asked for, and how large the video to watch is."""

    tokens: bool = False
    trace: bool = False
    html: bool = False
    view: View = field(default_factory=View)


def run_folder(folder: Path) -> RunFolder:
    """The folder of one clip's rollouts; with several samples the records lie one level down."""
    return RunFolder(folder, "rollout", RECORD, marks=(f"*/{RECORD}",))


def claim_folders(out: Path, names: Sequence[str], overwrite: bool) -> list[Path]:
    """The folders ``out/name``, checked before any work is done; only ``out`` itself is made.

    Raises BadOutput if ``out`` cannot be written to, a folder exists and ``overwrite`` is off, or it is no earlier
    rollout's.
    """
    run_folder(out).create()
    folders = [out / name for name in names]
    for folder in folders:
        run_folder(folder).claim(overwrite)
    return folders


def rollout_record(job: ClipJob, rolled: RolloutSummary, sample: int) -> dict[str, Any]:
    """``rollout.json`` of one sample: configuration, seed, versions, numbers."""
    nfe = rolled.nfe[sample]  # as if the sample were alone; shared prefills are divided below
    new_tokens = sum(chunk.tokens.shape[1] for chunk in rolled.chunks)
    return {
        "source": job.clip.source,
        "reader": job.clip.reader,
        "notes": list(job.notes),
        "fps": job.clip.fps,
        "start": job.clip.start,
        "context_frames": len(rolled.context),
        "predicted_frames": rolled.predicted_frames,
        "truth_frames": len(job.truth),
        "frame_size": list(rolled.context.shape[1:3]),
        "latent_grid": list(rolled.tokens.shape[1:]),
        "sample": sample,
        "seed": job.config.seed,
        "guarantee": f"{rolled.chunks[0].stats.guarantee}: {GUARANTEES[job.decoder.guarantee]}",
        "nfe": nfe,
        "nfe_with_shared_prefill": round(sum(chunk.stats.shared_nfe[sample] for chunk in rolled.chunks), 4),
        "prefill_shared_by": [chunk.stats.prefill_shared_by[sample] for chunk in rolled.chunks],
        "new_tokens": new_tokens,
        "tokens_per_pass": new_tokens / nfe,
        "acceptance_lengths": [acceptance_lengths(chunk, sample) for chunk in rolled.chunks],
        "seconds": {name: round(spent, 4) for name, spent in rolled.seconds.items()},
        "seconds_forward": round(sum(chunk.stats.forward_seconds for chunk in rolled.chunks), 4),
        "tokens_sha256": rolled.token_hash(sample),
        "config": asdict(job.config),
        "decoder": asdict(job.decoder),
        "device": str(job.runtime.device),
        "dtype": str(job.runtime.dtype).removeprefix("torch."),
        "dtype_reason": job.runtime.reason,
        "versions": versions(),
    }


def acceptance_lengths(chunk: Decoded, sample: int) -> list[int]:
    """Tokens decided in each pass that the sample took part in, the prefill first."""
    # the samples need different numbers of passes: 0 stands where this one took no part
    decided = chunk.trace.decided[:, sample]
    return decided[decided > 0].tolist()


def write_clip(
    folder: Path, job: ClipJob, rolled: Rollout, extras: Extras, overwrite: bool, say: Say
) -> list[dict[str, Any]]:
    """Write all samples of one clip, whole or not at all: into ``folder``, or into sample-K folders of it.

    Returns each sample's summary. Raises BadOutput, also where ``folder`` is there and ``overwrite`` is off.
    """
    summaries = []
    with replacing_folder(folder, overwrite) as partial:
        records = []
        for sample, name in enumerate(sample_names(len(rolled.predicted))):
            (partial / name).mkdir(exist_ok=True)
            records.append(write_rollout(partial / name, job, rolled, sample, extras))
            say(describe(records[-1], folder / name))
            summaries.append(summary_of(records[-1], folder / name))
        if extras.html:
            write_page_of(partial, folder.name, job, rolled.context, records)
    return summaries


def write_page_of(
    folder: Path, title: str, job: ClipJob, context: Frames, records: Sequence[dict[str, Any]]
) -> None:
    """``rollout.html``: all samples of a clip, which lie in ``folder``, beside the truth."""
    from vidjacobi.html_report.rollout_page import write_rollout_page  # few rollouts want one

    videos = [folder / name / PLAIN for name in sample_names(len(records))]
    truth = torch.cat([context, job.truth]) if len(job.truth) else job.truth
    write_rollout_page(folder / PAGE, title, videos, records, truth)


def sample_names(samples: int) -> list[str]:
    """Folders of a clip's samples below its own; a single one lies in the clip's folder itself."""
    return [""] if samples == 1 else [f"sample-{sample}" for sample in range(samples)]


def summary_of(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the command's last line says about one sample."""
    return {"folder": str(folder), **{key: record[key] for key in SUMMARY if key in record}}


def write_rollout(folder: Path, job: ClipJob, rolled: Rollout, sample: int, extras: Extras) -> dict[str, Any]:
    """Write one sample's files into the existing ``folder``; returns its record."""
    frames, context = torch.cat([rolled.context, rolled.predicted[sample]]), len(rolled.context)
    side = SideBySide(context, job.truth, extras.view)
    enlarged = (side.show(piece, k * _PIECE) for k, piece in enumerate(frames.split(_PIECE)))
    write_pieces(folder / VIDEO, enlarged, job.clip.fps, _QUALITY, _PRESET)
    write_video(folder / PLAIN, frames, job.clip.fps)
    write_sheet(folder / SHEET, frames, context, truth=job.truth)
    return write_numbers(folder, rollout_record(job, rolled.summary, sample), rolled.summary, sample, extras)


def write_numbers(
    folder: Path, record: dict[str, Any], rolled: RolloutSummary, sample: int, extras: Extras
) -> dict[str, Any]:
    """Write the files of one sample that are not pictures; returns the record."""
    if extras.tokens:
        np.save(folder / "tokens.npy", rolled.tokens[sample].to(torch.int32).numpy())
    if extras.trace:
        np.savez_compressed(folder / "trace.npz", **trace_arrays(rolled, sample))
    write_json(folder / RECORD, record)
    return record


def trace_arrays(rolled: RolloutSummary, sample: int) -> dict[str, Any]:
    """One sample's trace, chunks joined: per pass (with the chunk it belongs to), then per token."""
    traces = [chunk.trace for chunk in rolled.chunks]
    per_pass = {
        name: torch.cat([getattr(trace, name)[:, sample] for trace in traces]).to(torch.int32).numpy()
        for name in ("decided", "accepted", "changed", "pending")
    }
    seconds = {
        name: torch.cat([getattr(trace, name) for trace in traces]).numpy()
        for name in ("seconds", "forward_seconds")
    }
    # chunk[i]: which chunk pass i belongs to
    chunk = np.concatenate([np.full(len(trace.seconds), i, np.int32) for i, trace in enumerate(traces)])
    per_token = {
        name: torch.cat([getattr(trace, name)[sample] for trace in traces]).to(torch.int32).numpy()
        for name in ("decided_in", "redrafted")
    }
    return {"chunk": chunk, **per_pass, **seconds, **per_token}


def describe(record: dict[str, Any], folder: Path) -> str:
    """One line that says what was rolled out, in how many passes and seconds."""
    seconds = record["seconds"]
    return (
        f"{folder}: {number_of(record['predicted_frames'], 'frame')}, "
        f"{number_of(record['new_tokens'], 'token')} in {number_of(record['nfe'], 'pass')} "
        f"({record['tokens_per_pass']:.1f} tokens a pass), encode {seconds['encode']:.1f} s, decode "
        f"{seconds['decode']:.1f} s, to frames {seconds['to_frames']:.1f} s; "
        f"guarantee {record['guarantee'].split(':')[0]}"
    )
