"""Tables for a terminal: aligned columns."""

from collections.abc import Sequence


def columns(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> list[str]:
    """Lines of aligned columns, each as wide as it must be: the first one to the left, the others to the right."""
    cells = [list(heads)] + [[str(cell) for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
