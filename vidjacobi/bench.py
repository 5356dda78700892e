"""Several decoders and windows on the same contexts, in one run, alternating, against AR."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from vidjacobi.config import read_config
from vidjacobi.decoding import decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.frames import fit
from vidjacobi.loading import Pair
from vidjacobi.registry import suggest
from vidjacobi.rolling import flatten, latent_frames
from vidjacobi.shapes import GridTokens, Tokens
from vidjacobi.state import Decoded
from vidjacobi.video_io import read_frames

CONTEXT = 9  # frames


@dataclass
class BenchConfig:
    """What to compare: every decoder at every window, and AR once per clip."""

    model: str = "nano"
    tokenizer: str | None = None
    clips: int = 16
    frames: int = 24
    decoders: list[str] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 0.8
    device: str = "auto"
    dtype: str = "auto"

    def check(self) -> None:
        """Raise InvalidArgument for what cannot be run."""
        if min(self.windows, default=0) < 1 or not self.decoders:
            raise InvalidArgument("a bench needs at least one decoder and windows of at least 1")
        if self.clips < 1 or self.frames < 1:
            raise InvalidArgument("a bench needs at least one clip and one frame")


@dataclass(frozen=True)
class Measurement:
    """One decode of one clip."""

    decoder: str
    window: int
    clip: int
    nfe: int
    new_tokens: int
    seconds: float
    forward_seconds: float
    ar_nfe: int
    ar_seconds: float
    ar_agreement: float  # share of tokens equal to AR's from the same seed

    @property
    def outside(self) -> float:
        """Share of time outside the model's forward."""
        return 1 - self.forward_seconds / self.seconds


def load_bench(name: str, flags: dict[str, Any]) -> BenchConfig:
    """``configs/bench/NAME.yaml`` or a path, with flags laid over it. Raises InvalidArgument."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = list(BenchConfig.__dataclass_fields__)
    values = OmegaConf.create(read_config("bench", name))
    for key in values:
        if key not in known:
            raise InvalidArgument(f"bench {name!r} has no setting {key!r}{suggest(str(key), known)}")
    given = {key: value for key, value in flags.items() if key in known and value is not None}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(BenchConfig), values, given)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        where = error.full_key or f"bench {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, BenchConfig)
    config.check()
    return config


def contexts_of(config: BenchConfig, pair: Pair, clips: Sequence[Path]) -> GridTokens:
    """Context tokens ``[clips t h w]``: of the user's videos, or the held-out ones that ship with nano."""
    model, tokenizer = pair
    if clips:
        frames = [read_frames(clip, 0, CONTEXT).frames for clip in clips]
        return torch.cat([tokenizer.encode(fit(clip, tokenizer.frame_size)[None]) for clip in frames])
    if config.model != "nano":
        raise InvalidArgument(f"no contexts ship for {config.model}: name some clips")
    with (resources.files("vidjacobi.assets") / "nano" / "held_out_contexts.npy").open("rb") as file:
        tokens = torch.from_numpy(np.load(file).astype(np.int64))
    if config.clips > len(tokens):
        raise InvalidArgument(
            f"{config.clips} clips asked for, {len(tokens)} held-out contexts ship with nano"
        )
    return tokens[: config.clips].to(model.device)


def run(
    config: BenchConfig, pair: Pair, grids: GridTokens, tell: Callable[[str], None]
) -> Iterator[Measurement]:
    """Decode every context with AR, then with every decoder and window, in an order that turns from clip to clip."""
    model, tokenizer = pair
    contexts = flatten(model, grids)
    new_tokens = latent_frames(CONTEXT + config.frames, tokenizer) * grids[0, 0].numel() - grids[0].numel()
    cases = [(decoder, window) for window in config.windows for decoder in config.decoders]

    def once(context: Tokens, decoder: str, window: int, count: int) -> Decoded:
        numbers = (config.seed, config.temperature, config.top_p)
        return decode(model, context, count, decoder, window, *numbers, measure=True)

    for decoder, window in [("ar", 1), *cases]:  # warm-up, not counted
        once(contexts[:1], decoder, window, min(new_tokens, 2 * window))
    for clip in range(len(contexts)):
        context = contexts[clip : clip + 1]
        oracle = once(context, "ar", 1, new_tokens)
        yield measurement("ar", 1, clip, oracle, oracle)
        turn = clip % len(cases)
        for decoder, window in cases[turn:] + cases[:turn]:
            found = measurement(decoder, window, clip, once(context, decoder, window, new_tokens), oracle)
            tell(
                f"clip {clip + 1}/{len(contexts)} {decoder} {window}: {found.nfe} passes, {found.seconds:.1f} s"
            )
            yield found


def measurement(decoder: str, window: int, clip: int, decoded: Decoded, oracle: Decoded) -> Measurement:
    """The numbers of one decode of one clip beside AR's."""
    stats, base = decoded.stats, oracle.stats
    return Measurement(
        decoder,
        window,
        clip,
        stats.nfe[0],
        stats.new_tokens[0],
        stats.seconds,
        stats.forward_seconds,
        base.nfe[0],
        base.seconds,
        (decoded.tokens == oracle.tokens).double().mean().item(),
    )


def summary(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Means over clips, one line per decoder and window; ratios to AR are paired by clip."""
    lines = []
    for decoder, window in dict.fromkeys((row.decoder, row.window) for row in sorted(rows, key=_order)):
        of = [row for row in rows if (row.decoder, row.window) == (decoder, window)]
        fewer = [row.ar_nfe / row.nfe for row in of]
        lines.append(
            {
                "decoder": decoder,
                "window": window,
                "clips": len(of),
                "passes": mean(row.nfe for row in of),
                "tokens_per_pass": mean(row.new_tokens / row.nfe for row in of),
                "fewer_passes": mean(fewer),
                "fewer_passes_interval": 1.96 * stdev(fewer) / len(fewer) ** 0.5 if len(fewer) > 1 else None,
                "seconds": mean(row.seconds for row in of),
                "faster": mean(row.ar_seconds / row.seconds for row in of),
                "outside_forward": mean(row.outside for row in of),
                "ar_agreement": mean(row.ar_agreement for row in of),
            }
        )
    return lines


def _order(row: Measurement) -> tuple[bool, int]:
    return row.decoder != "ar", row.window


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The summary as Markdown."""
    head = (
        "| decoder | window | passes | tokens per pass | x fewer passes | seconds | x faster | outside forward "
        "| tokens equal to AR's |\n|---|---|---|---|---|---|---|---|---|"
    )
    body = [
        f"| {line['decoder']} | {line['window']} | {line['passes']:.1f} | {line['tokens_per_pass']:.2f} "
        f"| {line['fewer_passes']:.2f}{_interval(line)} | {line['seconds']:.2f} | {line['faster']:.2f} "
        f"| {100 * line['outside_forward']:.0f} % | {100 * line['ar_agreement']:.2f} % |"
        for line in lines
    ]
    return "\n".join([head, *body])


def _interval(line: dict[str, Any]) -> str:
    width = line["fewer_passes_interval"]
    return "" if width is None else f" ± {width:.2f}"


def write(out: Path, config: BenchConfig, rows: Sequence[Measurement], about: dict[str, Any]) -> None:
    """``bench.csv`` with every decode, ``bench.json`` with the summary, ``bench.md`` with the table."""
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])))
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    (out / "bench.csv").write_text(text.getvalue())
    result = {"config": asdict(config), **about, "summary": summary(rows)}
    (out / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "bench.md").write_text(table(summary(rows)) + "\n")
