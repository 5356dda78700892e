"""Tables for papers: booktabs, intervals below their values, plain sentences as the caption."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]
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
%s
\midrule
%s
\bottomrule
\end{tabular}
\end{table*}
"""
_NOTE = "% Needs \\usepackage{booktabs}. Intervals stand below their values.\n"
_LONGEST = 20  # lines of a table: with the intervals below them, a page holds no more
_MISSING = "--"


@dataclass(frozen=True)
class TexColumn:
    """One column: its heading in two lines of LaTeX, its value, its interval if it has one, and its alignment."""

    head: tuple[str, str]
    value: Callable[[Line], str]
    interval: Callable[[Line], str] = lambda line: ""
    align: str = "r"


def tex_tables(
    columns: Sequence[TexColumn],
    lines: Sequence[Line],
    label: str,
    caption: Sequence[str],
    rule_before: int | None = None,
) -> str:
    """All lines as one ``table*`` or, if they are many, several.

    Args:
        label: of ``\\ref``.
        caption: plain sentences.
        rule_before: number of the line before which a rule is drawn.
    """
    heads = [" & ".join(column.head[row] for column in columns) + r" \\" for row in (0, 1)]
    if not any(column.head[1] for column in columns):
        heads = heads[:1]
    align = "".join(column.align for column in columns)
    text = _NOTE
    for first in range(0, len(lines), _LONGEST):
        body: list[str] = []
        for number, line in enumerate(lines[first : first + _LONGEST], first):
            body += ["\\midrule"] if body and number == rule_before else []
            body += _rows(line, columns)
        said = (
            rf"Table~\ref{{{label}}}, continued."
            if first
            else rf"{escaped(' '.join(caption))}\label{{{label}}}"
        )
        text += _TABLE % (said, align, "\n".join(heads), "\n".join(body))
    return text


def _rows(line: Line, columns: Sequence[TexColumn]) -> list[str]:
    """The row of values and, if there are any, that of their intervals."""
    values = " & ".join(column.value(line) for column in columns)
    below = [column.interval(line) for column in columns]
    if not any(below):
        return [rf"{values} \\"]
    return [rf"{values} \\", " & ".join(below) + r" \\[1pt]"]


def tex_estimate(key: str, digits: int) -> tuple[Callable[[Line], str], Callable[[Line], str]]:
    """The mean of an interval (``mean``, ``low``, ``high``) in a line, and its ends in brackets."""

    def mean(line: Line) -> str:
        return tex_number(None if line[key] is None else line[key]["mean"], digits)

    def ends(line: Line) -> str:
        value: Mapping[str, Any] | None = line[key]
        if value is None or value["low"] is None:
            return ""
        low, high = (tex_number(value[end], digits) for end in ("low", "high"))
        return rf"{{\scriptsize [{low}, {high}]}}"

    return mean, ends


def tex_number(value: int | float | None, digits: int) -> str:
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
