"""``results.tex``: the table of an evaluation for a paper, with booktabs and a caption that names its protocol."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.results import Line, mean_psnr, shows_lpips
from vidjacobi.output.atomic import replacing

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}
_TABLE = r"""\begin{table*}
\centering\footnotesize\setlength{\tabcolsep}{3.5pt}
\caption{%s}\vspace{4pt}
\begin{tabular}{%s}
\toprule
%s \\
%s \\
\midrule
%s
\bottomrule
\end{tabular}
\end{table*}
"""
_NOTE = "% Needs \\usepackage{booktabs}. Intervals stand below their values.\n"
_LABEL = "tab:vidjacobi"
_LONGEST = 20  # lines of a table: with the intervals below them, a page holds no more
_MISSING = "--"


@dataclass(frozen=True)
class _Column:
    """One column: its heading in two lines of LaTeX, its value, its interval if it has one, and its alignment."""

    head: tuple[str, str]
    value: Callable[[Line], str]
    interval: Callable[[Line], str] = lambda line: ""
    align: str = "r"


def write_latex(path: Path, lines: Sequence[Line], label: str, caption: Sequence[str]) -> None:
    """Write ``results.tex``, whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        partial.write_text(latex(lines, label, caption), encoding="ascii")


def latex(lines: Sequence[Line], label: str, caption: Sequence[str]) -> str:
    """All lines, references last, as one ``table*`` or, if they are many, several. ``caption``: plain sentences."""
    columns = _columns(label, shows_lpips(lines))
    decoders = [line for line in lines if line["decoder"] not in REFERENCES]
    ordered = decoders + [line for line in lines if line["decoder"] in REFERENCES]
    heads = [" & ".join(column.head[row] for column in columns) for row in (0, 1)]
    align = "".join(column.align for column in columns)
    text = _NOTE
    for first in range(0, len(ordered), _LONGEST):
        body: list[str] = []
        for line in ordered[first : first + _LONGEST]:
            body += ["\\midrule"] if body and line is ordered[len(decoders)] else []
            body += _rows(line, columns)
        said = (
            rf"Table~\ref{{{_LABEL}}}, continued."
            if first
            else rf"{escaped(' '.join(caption))}\label{{{_LABEL}}}"
        )
        text += _TABLE % (said, align, *heads, "\n".join(body))
    return text


def _rows(line: Line, columns: Sequence[_Column]) -> list[str]:
    """The row of values and, if there are any, that of their intervals."""
    values = " & ".join(column.value(line) for column in columns)
    below = [column.interval(line) for column in columns]
    if not any(below):
        return [rf"{values} \\"]
    return [rf"{values} \\", " & ".join(below) + r" \\[1pt]"]


def _columns(label: str, lpips: bool) -> list[_Column]:
    distance = escaped(label)
    found = [
        _Column(("Decoder", ""), lambda line: escaped(line["decoder"]), align="l"),
        _Column(("Guarantee", ""), lambda line: escaped(line["guarantee"]), align="l"),
        _Column(("$L$", ""), lambda line: _number(line["window"], 0)),
        _Column(("NFE", ""), lambda line: _number(line["passes"], 1)),
        _Column(("NFE", "x fewer"), *_estimate("fewer_passes", 2)),
        _Column(("Latency", "[s]"), lambda line: _number(line["seconds"], 2)),
        _Column(("Latency", "x faster"), *_estimate("faster", 2)),
        _Column((distance, ""), lambda line: _number(line["fvd"], 1)),
        _Column((distance, "$-$ AR's"), *_estimate("fvd_above_ar", 1)),
        _Column(("PSNR", "[dB]"), lambda line: _number(mean_psnr(line), 2)),
        _Column(("SSIM", ""), lambda line: _number(line["ssim"], 3)),
    ]
    if lpips:
        found.append(_Column(("LPIPS", ""), lambda line: _number(line["lpips"], 3)))
    share = "ar_agreement"
    return [
        *found,
        _Column(
            ("AR's", r"tokens [\%]"),
            lambda line: _number(None if line[share] is None else 100 * line[share], 1),
        ),
    ]


def _estimate(key: str, digits: int) -> tuple[Callable[[Line], str], Callable[[Line], str]]:
    """The mean of an interval, and its ends in brackets."""

    def mean(line: Line) -> str:
        return _number(None if line[key] is None else line[key]["mean"], digits)

    def ends(line: Line) -> str:
        value: Mapping[str, Any] | None = line[key]
        if value is None or value["low"] is None:
            return ""
        low, high = (_number(value[end], digits) for end in ("low", "high"))
        return rf"{{\scriptsize [{low}, {high}]}}"

    return mean, ends


def _number(value: int | float | None, digits: int) -> str:
    """A number with a true minus sign, a dash for None."""
    if value is None:
        return _MISSING
    if math.isinf(value):
        return r"$\infty$"
    text = f"{value:.{digits}f}"
    nothing = not text.strip("-0.")  # -0.04 with one digit is 0.0
    return text.lstrip("-") if nothing else text.replace("-", "$-$")


def escaped(text: str) -> str:
    """Plain text as LaTeX in ASCII. A letter that is not ASCII becomes its code point, such as U+4E2D."""
    return "".join(
        _SPECIAL.get(sign, sign) if sign.isascii() and sign.isprintable() else f"U+{ord(sign):04X}"
        for sign in text
    )
