"""Passes of decoders on pictures: the same pictures with AR and with every decoder and window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch

from vidjacobi.bench.table import over_clips
from vidjacobi.config.decoder import DecoderConfig, load_decoder, with_window
from vidjacobi.decoding.api import ClipId, decode, strategies_of
from vidjacobi.decoding.recipe import Progress
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.output.atomic import replacing_folder, write_json, write_text
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.runtime import versions
from vidjacobi.sampling.probs import SamplingParams

if TYPE_CHECKING:
    from vidjacobi.families.painters.contract import Painter, Subject

AR, RECORD, TABLE = "ar", "bench.json", "bench.md"
Keyed = Sequence[tuple["Subject", ClipId]]


@dataclass(frozen=True)
class PictureDecode:
    """One picture with one decoder.

    Attributes:
        picture: which of the pictures, from 0 on.
        nfe: passes, the prefill included.
        seconds: its share of its batch's wall time.
        ar_agreement: share of tokens equal to AR's from the same seed.
    """

    decoder: str
    window: int
    guarantee: str
    picture: int
    nfe: int
    new_tokens: int
    seconds: float
    ar_agreement: float


def decoder_of(name: str) -> DecoderConfig:
    """A decoder by name, perhaps with another draft behind a plus sign: ``mc_sjd+above``. Raises InvalidArgument."""
    base, _, draft = name.partition("+")
    config = load_decoder(base)
    return replace(config, name=name, draft={"name": draft}) if draft else config


def decoders_of(names: Sequence[str], windows: Sequence[int]) -> list[DecoderConfig]:
    """AR, and every named decoder at every window; one with lanes of its own width at its own window alone.

    Raises InvalidArgument.
    """
    if not windows or min(windows) < 1:
        raise InvalidArgument(f"windows must be at least 1, not {list(windows)}")
    found = [load_decoder(AR)]
    for name in names:
        config = decoder_of(name)
        if config.is_ar:
            continue
        found += [config] if config.lanes else [with_window(config, window) for window in windows]
    for config in found:
        strategies_of(config)
    return found


@dataclass(frozen=True)
class Asked:
    """What is decoded, and how.

    Attributes:
        pictures: what each shows, and what its noise is keyed with.
        guidance: scale; 1: none.
        rows: pictures that are decoded together.
    """

    painter: "Painter"
    pictures: Keyed
    sampling: SamplingParams
    guidance: float
    rows: int


def decodes(
    asked: Asked, decoders: Sequence[DecoderConfig], observe: Callable[[Progress], None] | None = None
) -> Iterator[tuple[int, DecoderConfig, Decoded]]:
    """Every batch with every decoder in turn: the number of its first picture, the decoder, and what it decided."""
    for first in range(0, len(asked.pictures), asked.rows):
        batch = asked.pictures[first : first + asked.rows]
        model = asked.painter.model([subject for subject, _ in batch], asked.guidance)
        context = torch.tensor([model.prefix_tokens] * len(batch), device=model.device)
        keys, tokens = [key for _, key in batch], asked.painter.grid.tokens
        for config in decoders:
            made = decode(
                model, context, tokens, config, sampling=asked.sampling, clip_ids=keys, observe=observe
            )
            yield first, config, made


def measure(
    asked: Asked, decoders: Sequence[DecoderConfig], observe: Callable[[Progress], None] | None = None
) -> list[PictureDecode]:
    """Decode all pictures with all decoders, AR first."""
    found, reference = [], torch.empty(0)
    for first, config, made in decodes(asked, decoders, observe):
        reference = made.tokens if config is decoders[0] else reference
        same = (made.tokens == reference).float().mean(1).tolist()
        found += [
            PictureDecode(
                config.name,
                config.window,
                made.stats.guarantee,
                first + row,
                made.stats.nfe[row],
                made.stats.new_tokens[row],
                made.stats.seconds / len(same),
                same[row],
            )
            for row in range(len(same))
        ]
    return found


def summary_of(rows: Iterable[PictureDecode]) -> list[dict[str, Any]]:
    """Means of each decoder and window over the pictures, with the intervals of tokens per pass."""
    groups: dict[tuple[str, int], list[PictureDecode]] = {}
    for row in rows:
        groups.setdefault((row.decoder, row.window), []).append(row)
    found = []
    for (decoder, window), mine in groups.items():
        estimate = over_clips((row.picture, row.new_tokens / row.nfe) for row in mine)
        assert estimate is not None
        found.append(
            {
                "decoder": decoder,
                "window": window,
                "guarantee": mine[0].guarantee,
                "nfe": mean(row.nfe for row in mine),
                "tokens_per_pass": estimate.mean,
                "interval": [estimate.low, estimate.high],
                "ar_agreement": mean(row.ar_agreement for row in mine),
                "seconds": mean(row.seconds for row in mine),
            }
        )
    return found


def table_of(summary: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        f"{about['model']}, {number_of(about['pictures'], 'picture')}, guidance {about['guidance']:g}: means; tokens "
        "per pass with a 95 % interval over the pictures.",
        "",
        "| decoder | window | guarantee | passes (NFE) | tokens per pass | equal to ar's | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in summary:
        low, high = one["interval"]
        interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
        lines.append(
            f"| `{one['decoder']}` | {one['window']} | {one['guarantee']} | {one['nfe']:.1f} | "
            f"{one['tokens_per_pass']:.2f}{interval} | {one['ar_agreement']:.1%} | {one['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def picture_bench_folder(out: Path) -> RunFolder:
    """How the folder of such a bench is known."""
    return RunFolder(out, "bench of pictures", RECORD)


def write_results(out: Path, rows: Sequence[PictureDecode], about: dict[str, Any]) -> list[dict[str, Any]]:
    """``bench.json`` and ``bench.md``, whole or not at all; the summary. Raises BadOutput."""
    summary = summary_of(rows)
    record = {**about, "versions": versions(), "summary": summary, "decodes": [asdict(row) for row in rows]}
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out) as partial:
        write_json(partial / RECORD, record)
        write_text(partial / TABLE, table_of(summary, about))
    return summary
