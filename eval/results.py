"""The results: for each decoder and window, passes and seconds from the bench, and quality from measured frames."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vidjacobi.bench.decode_rows import AR
from vidjacobi.bench.table import Estimate, markdown
from vidjacobi.eval.distance_kinds import FRECHET
from vidjacobi.eval.fvd import distance, paired_difference
from vidjacobi.eval.measure import TRUTH, Name
from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.quality import Quality, QualityKey
from vidjacobi.output.atomic import write_text
from vidjacobi.output.rows import spreadsheet_cell

Features = Mapping[Name, Float[Tensor, "n f"]]
Line = dict[str, Any]
AT_AR = (AR, 1)
# keys of a line that the bench has computed (see vidjacobi.bench.table.line)
FROM_BENCH = (
    *("guarantee", "lanes", "positions", "passes", "passes_low", "passes_high", "tokens_per_pass"),
    *("fewer_passes", "seconds", "seconds_low", "seconds_high", "faster"),
    *("ar_agreement", "kl", "nll", "nll_above_ar", "excess"),
)


def results(
    bench_lines: Sequence[Line],
    features: Features,
    quality: Mapping[QualityKey, Quality],
    draws: int,
    seed: int,
    formula: str = FRECHET,
) -> list[Line]:
    """A line for each reference, then for AR, then for the decoders in the order of the bench.

    ``formula``: of the distance, an entry of ``vidjacobi.eval.distance_kinds.DISTANCES``.
    """
    decodes = {(line["decoder"], line["window"]): line for line in bench_lines}
    names: list[Name] = [(name, 0) for name in REFERENCES] + list(decodes)
    found = []
    for name in tqdm(names, "compare", unit="decoder", disable=None):
        mine = [row for key, row in quality.items() if key[:2] == name]
        line: Line = {"decoder": name[0], "window": name[1] or None, "clips": len(features[name])}
        # references have no passes and no seconds
        line |= {key: decodes[name][key] if name in decodes else None for key in FROM_BENCH}
        line |= {
            "guarantee": line["guarantee"] or "reference",
            **distances(name, features, draws, seed, formula),
            **averages(mine),
        }
        found.append(line)
    return found


def distances(name: Name, features: Features, draws: int, seed: int, formula: str = FRECHET) -> Line:
    """The distance from the ground truth, and how much it exceeds AR's, with a paired bootstrap interval."""
    line: Line = {"fvd": distance(features[name], features[TRUTH], formula).value, "fvd_above_ar": None}
    if name != AT_AR:
        low, middle, high = paired_difference(
            features[name], features[AT_AR], features[TRUTH], draws, seed, formula
        )
        line["fvd_above_ar"] = {"mean": middle, "low": low, "high": high}
    return line


def averages(rows: Sequence[Quality]) -> Line:
    """Means over all frames and clips, and the means of each predicted frame over the clips.

    Frames that equal the ground truth have an infinite PSNR: they are left out of its mean, and ``identical_frames``
    counts them.
    """
    line: Line = {"identical_frames": sum(value is None for row in rows for value in row.psnr)}
    for kind in ("psnr", "ssim", "lpips"):
        curves = [getattr(row, kind) for row in rows if getattr(row, kind) is not None]
        # From a list for each clip to a list for each frame: [[1, 2, 3], [4, 5, 6]] becomes [[1, 4], [2, 5], [3, 6]].
        frames = [[value for value in values if finite(value)] for values in zip(*curves, strict=True)]
        every = [value for values in frames for value in values]
        line[kind] = fmean(every) if every else None
        line[f"{kind}_by_frame"] = [fmean(values) if values else None for values in frames] or None
    return line


def finite(value: float | None) -> bool:
    """Whether a value is a number that can be averaged."""
    return value is not None and math.isfinite(value)


def flat(line: Line) -> Line:
    """A line for a spreadsheet: the ends of intervals have columns of their own, and curves are left out."""
    row: Line = {}
    for key, value in line.items():
        if isinstance(value, dict):
            row |= {key: value["mean"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        elif not key.endswith("_by_frame"):
            row[key] = value
    return row


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """Write ``results.csv``, whole or not at all. Raises BadOutput."""
    rows = [flat(line) for line in lines]
    # lines of references lack the columns of intervals
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def table(lines: Sequence[Line], label: str) -> str:
    """A Markdown table in the form of table 2 of the MC-SJD paper: decoder, window (L), NFE, latency and FVD."""
    head = [
        "decoder",
        "guarantee",
        "L",
        "NFE",
        "x fewer",
        "latency [s]",
        "x faster",
        label,
        f"{label} - AR's",
    ]
    head += ["PSNR [dB]", "SSIM", "AR's tokens"]
    lpips = shows_lpips(lines)
    return markdown(head + ["LPIPS"] * lpips, [cells(line, lpips) for line in lines])


def shows_lpips(lines: Sequence[Line]) -> bool:
    """Whether LPIPS was measured, so that tables have a column of it."""
    return any(line["lpips"] is not None for line in lines)


def mean_psnr(line: Line) -> float | None:
    """The PSNR that tables show: infinite where every frame equals the ground truth, None without any frame."""
    return math.inf if line["psnr"] is None and line["identical_frames"] else line["psnr"]


def cells(line: Line, lpips: bool) -> list[str]:
    """The cells of a line in the table."""
    row = [
        *(line["decoder"], line["guarantee"], str(line["window"] or "")),
        *(number(line["passes"], 1), estimate(line["fewer_passes"], 2)),
        *(number(line["seconds"], 2), estimate(line["faster"], 2)),
        *(number(line["fvd"], 1), estimate(line["fvd_above_ar"], 1)),
        *(number(mean_psnr(line), 2), number(line["ssim"], 3)),
        "" if line["ar_agreement"] is None else f"{100 * line['ar_agreement']:.1f} %",
    ]
    return row + [number(line["lpips"], 3)] * lpips


def number(value: float | None, digits: int) -> str:
    """A number as text, empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def estimate(value: Mapping[str, Any] | None, digits: int) -> str:
    """A mean and its interval as text, empty for None."""
    if value is None:
        return ""
    found = Estimate(**value)
    if found.low is None or found.high is None:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
