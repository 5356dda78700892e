"""What a rollout leaves on disk and prints: one place for every report."""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidjacobi.config.decoder import GUARANTEES, DecoderConfig
from vidjacobi.config.rollout import RolloutConfig
from vidjacobi.decoding.trace import Decoded
from vidjacobi.output.atomic import replacing
from vidjacobi.output.run_folder import RECORD
from vidjacobi.rollouts.api import Rollout
from vidjacobi.rollouts.stream import Summary
from vidjacobi.runtime import Runtime
from vidjacobi.video.clips import ReadClip, write_video
from vidjacobi.video.contact_sheet import write_sheet

VIDEO, SHEET = "rollout.mp4", "sheet.png"
PACKAGES = ("vidjacobi", "torch", "transformers", "numpy", "av")


@dataclass(frozen=True)
class Extras:
    """Files that are written only when asked for."""

    tokens: bool = False
    trace: bool = False


@dataclass(frozen=True)
class Job:
    """One clip of a rollout command: what was asked and what was read."""

    config: RolloutConfig
    decoder: DecoderConfig
    clip: ReadClip
    runtime: Runtime


def rollout_record(job: Job, rolled: Summary, sample: int) -> dict[str, Any]:
    """``rollout.json`` of one sample: configuration, seed, versions, numbers."""
    nfe = rolled.nfe[sample]
    new_tokens = sum(chunk.tokens.shape[1] for chunk in rolled.chunks)
    return {
        "source": job.clip.source,
        "reader": job.clip.reader,
        "notes": list(job.clip.notes),
        "fps": job.clip.fps,
        "start": job.clip.start,
        "context_frames": len(rolled.context),
        "predicted_frames": rolled.predicted_frames,
        "frame_size": list(rolled.context.shape[1:3]),
        "latent_grid": list(rolled.tokens.shape[1:]),
        "sample": sample,
        "seed": job.config.seed,
        "guarantee": f"{job.decoder.guarantee}: {GUARANTEES[job.decoder.guarantee]}",
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
    decided = chunk.trace.decided[:, sample]
    return decided[decided > 0].tolist()


def write_rollout(folder: Path, job: Job, rolled: Rollout, sample: int, extras: Extras) -> dict[str, Any]:
    """Write one sample's files into the existing ``folder``; returns its record."""
    frames = torch.cat([rolled.context, rolled.predicted[sample]])
    write_video(folder / VIDEO, frames, job.clip.fps)
    write_sheet(folder / SHEET, frames, len(rolled.context))
    return write_numbers(folder, rollout_record(job, rolled.summary, sample), rolled.summary, sample, extras)


def write_numbers(
    folder: Path, record: dict[str, Any], rolled: Summary, sample: int, extras: Extras
) -> dict[str, Any]:
    """Write what is no picture of one sample; returns the record."""
    if extras.tokens:
        np.save(folder / "tokens.npy", rolled.tokens[sample].to(torch.int32).numpy())
    if extras.trace:
        np.savez_compressed(folder / "trace.npz", **trace_arrays(rolled, sample))
    write_record(folder, record)
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """``rollout.json``, whole or not at all."""
    with replacing(folder / RECORD) as partial:
        text = json.dumps(record, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


def trace_arrays(rolled: Summary, sample: int) -> dict[str, Any]:
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
    chunk = np.concatenate([np.full(len(trace.seconds), i, np.int32) for i, trace in enumerate(traces)])
    per_token = {
        name: torch.cat([getattr(trace, name)[sample] for trace in traces]).to(torch.int32).numpy()
        for name in ("decided_in", "redrafted")
    }
    return {"chunk": chunk, **per_pass, **seconds, **per_token}


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe(record: dict[str, Any], folder: Path) -> str:
    """One line for people."""
    seconds = record["seconds"]
    return (
        f"{folder}: {record['predicted_frames']} frames, {record['new_tokens']} tokens in {record['nfe']} passes "
        f"({record['tokens_per_pass']:.1f} tokens a pass), encode {seconds['encode']:.1f} s, decode "
        f"{seconds['decode']:.1f} s, to frames {seconds['to_frames']:.1f} s; "
        f"guarantee {record['guarantee'].split(':')[0]}"
    )
