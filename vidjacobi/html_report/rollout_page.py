"""``rollout.html``: the futures of one clip beside what really followed, in step, and their numbers."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from vidjacobi.errors import number_of
from vidjacobi.html_report.drawing import svg
from vidjacobi.html_report.figures import histogram
from vidjacobi.html_report.page import Clip, Column, Figure, Page, Section, Table, Track, write_page
from vidjacobi.shapes import Frames

COLUMNS = (
    Column("future"),
    Column("passes (NFE)", "number"),
    Column("tokens", "number"),
    Column("tokens per pass", "number", 2),
    Column("seconds of decoding", "number", 1),
    Column("sha256 of the tokens"),
)


def write_rollout_page(
    path: Path, title: str, videos: Sequence[Path], records: Sequence[Mapping[str, Any]], truth: Frames
) -> None:
    """Write the page of one clip.

    Args:
        title: name of the clip.
        videos: of each future, the context and then the predicted frames.
        records: the ``rollout.json`` of each future.
        truth: the context and then the frames that really followed; none (n = 0) where the clip has none.

    Raises BadOutput.
    """
    first, names = records[0], [f"future {record['sample']}" for record in records]
    tracks = [Track(name, video) for name, video in zip(names, videos, strict=True)]
    if len(truth):
        tracks.insert(
            0, Track("truth", truth, f"{number_of(first['truth_frames'], 'frame')} after the context")
        )
    clip = Clip(title, first["fps"], tracks, first["context_frames"], notes=first["notes"])
    given = first["context_frames"]
    seen = f"The first {f'{given} frames are' if given > 1 else 'frame is'} the context, as the model saw it."
    rows = [row_of(name, record) for name, record in zip(names, records, strict=True)]
    table = Table(COLUMNS, rows, "What each future took")
    decided = list(chain.from_iterable(chain.from_iterable(r["acceptance_lengths"] for r in records)))
    plot = Figure(
        svg(histogram("tokens decided in a pass", decided, "passes")), "histogram of tokens per pass"
    )
    sections = [Section("Futures", [clip], seen), Section("Numbers", [table, plot])]
    write_page(path, Page(f"Rollout: {title}", sections, summary_of(records), facts_of(first)))


def row_of(name: str, record: Mapping[str, Any]) -> list[Any]:
    """One line of the table."""
    numbers = [record[key] for key in ("nfe", "new_tokens", "tokens_per_pass")]
    return [name, *numbers, record["seconds"]["decode"], record["tokens_sha256"]]


def summary_of(records: Sequence[Mapping[str, Any]]) -> str:
    """What was made, as a sentence."""
    first, futures = records[0], f"{len(records)} futures" if len(records) > 1 else "One future"
    return f"{futures} of {number_of(first['predicted_frames'], 'frame')}, with {first['config']['model']}."


def facts_of(record: Mapping[str, Any]) -> dict[str, object]:
    """How the futures were made."""
    config, decoder = record["config"], record["decoder"]
    temperature = config["temperature"] if config["temperature"] is not None else "the decoder's own"
    kept = f"top-p {config['top_p']}" + (f", top-k {config['top_k']}" if config["top_k"] else "")
    return {
        "clip": f"{record['source']} from frame {record['start']}, {record['fps']:g} fps",
        "model": config["model"],
        "decoder": f"{decoder['name']}, window {decoder['window']}",
        "guarantee": record["guarantee"],
        "sampling": f"seed {config['seed']}, temperature {temperature}, {kept}",
        "device": f"{record['device']}, {record['dtype']}",
    }
