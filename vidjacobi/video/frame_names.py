"""The order of a folder's pictures, from their names; folders whose names leave it open are refused.

A name is text with numbers in it: "left_0007.png" has the pattern left_# and the number 7. One clip has one pattern,
and its numbers say the order. Names are read as these writers write them:

    frame9.png, frame10.png       a counter
    0.067.png, 0.1.png            seconds as programs print them: 0.067 comes before 0.1, although 67 is more than 1
    1.9.png, 1.10.png             two counters: a printed fraction never ends in 0
    -5.png, 5.png                 a sign, where other names have none
    frame_0f.png, frame_10.png    a counter to the base 16, of equal lengths
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise, takewhile
from pathlib import Path

from vidjacobi.errors import BadInput

# Digits, more digits behind dots, an exponent. A hyphen before them may be a sign if no letter, digit or hyphen is
# before it.
_NUMBER = re.compile(r"(?:(?<![^\W_]|-)-)?[0-9]+(?:\.[0-9]+)*(?:e[+-][0-9]{2,3}(?![0-9]))?")
_WORD_AT_END = re.compile(r"[^\W\d_]{2}[ _-]*$")
_LONGEST_COUNTER = 9  # digits behind a dot; more are a fraction as computed
_LISTED = 4  # most kinds of names in a message
Value = tuple[Decimal, ...]  # of a number in a name: itself, or the two counters that it is


@dataclass(frozen=True)
class _Name:
    """A picture, the pattern of its name, and the numbers of its name as they are written."""

    file: Path
    pattern: str
    numbers: tuple[str, ...]


def in_order(files: Sequence[Path]) -> list[Path]:
    """The pictures of one folder as the frames of one clip.

    Raises BadInput where their names are of several patterns (colour and depth), hold several sequences (cameras), or
    can be read in two orders.
    """
    if len(files) < 2:
        return list(files)
    counted = _to_base_16(files) or _single_letters(files)
    if counted:
        return counted
    names = [_parsed(file) for file in sorted(files)]
    if not any(name.numbers for name in names):
        raise _refused(names, "hold no number that says their order: number them, as in 0001.png")
    _check_one_pattern(names)
    columns = [_values(names, place) for place in range(len(names[0].numbers))]
    ordered = sorted(zip(zip(*columns, strict=True), names, strict=True), key=lambda pair: pair[0])
    _check_distinct(ordered)
    _check_one_sequence(ordered)
    return [name.file for _, name in ordered]


def _parsed(file: Path) -> _Name:
    numbers: list[str] = []

    def take(match: re.Match[str]) -> str:
        parts = match[0].split(".")
        # 1.2.3 is no number with a fraction but three counters
        numbers.extend([match[0]] if len(parts) < 3 else parts)
        return "#" if len(parts) < 3 else ".".join("#" * len(parts))

    return _Name(file, _NUMBER.sub(take, file.stem.casefold()), tuple(numbers))


def _to_base_16(files: Sequence[Path]) -> list[Path] | None:
    """The order by numbers to the base 16, where all names are equally long and these numbers have one step."""
    stems = [file.stem.casefold() for file in files]
    start = _common(stems)
    ends = [stem[start:] for stem in stems]
    if len({len(stem) for stem in stems}) > 1 or not all(re.fullmatch("[0-9a-f]+", end) for end in ends):
        return None
    values = sorted(int(end, 16) for end in ends)
    if all(end.isdecimal() for end in ends) or len(set(_steps(values))) > 1:
        return None
    return sorted(files, key=lambda file: file.stem.casefold())


def _single_letters(files: Sequence[Path]) -> list[Path] | None:
    """The order by letters, where names differ in one letter and the letters have no gap: a, b, c."""
    stems = sorted(file.stem.casefold() for file in files)
    start = _common(stems)
    ends = [stem[start:] for stem in stems]
    if not all(re.fullmatch("[a-z]", end) for end in ends) or set(_steps(list(map(ord, ends)))) != {1}:
        return None
    return sorted(files, key=lambda file: file.stem.casefold())


def _steps(values: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise(values)]


def _common(texts: Sequence[str]) -> int:
    """The number of letters that all texts begin with."""
    first, last = min(texts), max(texts)
    same = (a == b for a, b in zip(first, last, strict=False))
    return sum(1 for _ in takewhile(bool, same))


def _check_one_pattern(names: Sequence[_Name]) -> None:
    kinds: dict[str, list[_Name]] = {}
    for name in names:
        kinds.setdefault(name.pattern, []).append(name)
    if len(kinds) > 1:
        raise _families(kinds.values())


def _values(names: Sequence[_Name], place: int) -> list[Value]:
    """What the numbers at one place of the names are worth, name by name. Raises BadInput where that is open."""
    texts = [name.numbers[place] for name in names]
    signed = [text.startswith("-") for text in texts]
    if all(signed) and len(set(texts)) > 1:
        raise _refused(names, "can be read as negative numbers, or as numbers behind a hyphen: rename them")
    fractions = {text.partition(".")[2] for text in texts}
    if not any(fractions) or any("e" in text for text in texts) or _are_printed(fractions, names):
        return [(Decimal(text),) for text in texts]
    return [tuple(map(Decimal, text.split("."))) for text in texts]


def _are_printed(fractions: set[str], names: Sequence[_Name]) -> bool:
    """Whether the digits behind a dot are a fraction; else they are a counter. Raises BadInput where both may be."""
    if len({len(fraction) for fraction in fractions}) == 1:
        return True  # both orders are the same
    if max(map(len, fractions)) > _LONGEST_COUNTER:
        return True
    if any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions):
        if "" in fractions:
            raise _refused(names, "have a number that is not always there: rename them, as in 0001.png")
        return False  # 1.10: printed it would be 1.1
    if "" in fractions or any(len(fraction) > 1 and fraction.startswith("0") for fraction in fractions):
        return True  # 1.033, or 1 beside 1.5: a counter would not be written like this
    by_value = sorted(fractions, key=lambda text: Decimal(f"0.{text}"))
    if by_value == sorted(fractions, key=int):
        return True
    raise _refused(
        names, "can be read as fractions (1.5 after 1.12) or as counters (1.5 before 1.12): rename them"
    )


def _check_distinct(ordered: Sequence[tuple[tuple[Value, ...], _Name]]) -> None:
    for (key, first), (other, second) in pairwise(ordered):
        if key != other:
            continue
        endings = {name.file.suffix.casefold() for _, name in ordered}
        if first.file.stem.casefold() == second.file.stem.casefold() and len(endings) > 1:
            raise _families([n for _, n in ordered if n.file.suffix.casefold() == e] for e in sorted(endings))
        raise _refused(
            [name for _, name in ordered],
            f"count twice: {first.file.name} and {second.file.name} are one number",
        )


def _check_one_sequence(ordered: Sequence[tuple[tuple[Value, ...], _Name]]) -> None:
    """Refuse cam0_0001, cam0_0002 ... cam1_0001: a word before the first number that changes, and a new beginning."""
    # Date and time change in the same way, but digits or a single letter stand before their numbers.
    keys, names = zip(*ordered, strict=True)
    place = next(i for i, column in enumerate(zip(*keys, strict=True)) if len(set(column)) > 1)
    groups: dict[Value, list[_Name]] = {}
    for key, name in ordered:
        groups.setdefault(key[place], []).append(name)
    rests = [key[place + 1 :] for key in keys]
    before = names[0].pattern.split("#")[place]
    if len(groups) < len(names) and rests != sorted(rests) and _WORD_AT_END.search(before):
        raise _families(groups.values())


def _families(groups: Iterable[Sequence[_Name]]) -> BadInput:
    parts = sorted(groups, key=len, reverse=True)
    shown = ", ".join(f"{len(part)} like {part[0].file.name}" for part in parts[:_LISTED])
    more = f" and {len(parts) - _LISTED} other kinds" if len(parts) > _LISTED else ""
    return BadInput(
        f"{parts[0][0].file.parent}: its pictures are no single clip: {shown}{more}; "
        "move each kind to a folder of its own"
    )


def _refused(names: Sequence[_Name], why: str) -> BadInput:
    shown = ", ".join(name.file.name for name in names[:2])
    return BadInput(f"{names[0].file.parent}: the names of its pictures ({shown} ...) {why}")
