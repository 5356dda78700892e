"""Folder names for the outputs of several inputs: safe on every file system, and no two alike."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

LONGEST = 120  # bytes; file systems stop at 255, and endings are added to these names
_RESERVED = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
# names that Windows takes for devices
_DEVICES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def safe_name(text: str) -> str:
    """`text` as one path component: reserved characters become _, non-ASCII letters stay, never empty."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
    text = _RESERVED.sub("_", text).strip(" .")
    if _DEVICES.match(text):
        text = f"{text}_"
    return text.encode("utf-8")[:LONGEST].decode("utf-8", "ignore").rstrip(" .") or "clip"


def output_names(paths: Sequence[str | Path]) -> list[str]:
    """One safe, distinct folder name per input, in the order given.

    A name is the file's stem; inputs that share it are prefixed with as many parent folders as tell them
    apart (train/83/rgb.mp4 and train/346/rgb.mp4: 83_rgb, 346_rgb), then the ending is added (a.mp4 and a.webm:
    a_mp4, a_webm), then a number (the very same input twice). Names that differ in case only count as
    the same, because some file systems think so. Links are not followed: the name asked for is used.
    """
    parts = [_parts(path) for path in paths]
    depths = [1] * len(parts)
    while True:
        tails = [_tail(p, depth) for p, depth in zip(parts, depths, strict=True)]
        # the different inputs (by their whole paths) that would share each name
        owners: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for tail, p in zip(tails, parts, strict=True):
            owners.setdefault(tail, set()).add(_tail(p, len(p)))
        # Only those that collide go one folder deeper. The same input twice has one owner, so this ends.
        deeper = [d + (len(owners[tail]) > 1) for d, tail in zip(depths, tails, strict=True)]
        if deeper == depths:
            break
        depths = deeper
    names = [safe_name("_".join(p[-depth:])) for p, depth in zip(parts, depths, strict=True)]
    return _numbered(_with_endings(names, paths))


def _parts(path: str | Path) -> list[str]:
    """Absolute path as components, the last one without its ending (folders keep their whole name)."""
    full = Path(os.path.abspath(path))
    last = full.name if full.is_dir() else full.stem
    return [*full.parts[1:-1], last or "clip"]


def _tail(parts: list[str], depth: int) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts[-depth:])


def _with_endings(names: list[str], paths: Sequence[str | Path]) -> list[str]:
    """Append the file's ending to names that are shared by files of different endings."""
    endings = [Path(path).suffix.replace(".", "_") for path in paths]
    variants: dict[str, set[str]] = {}
    for name, ending in zip(names, endings, strict=True):
        variants.setdefault(name.casefold(), set()).add(ending)
    return [
        safe_name(name + ending) if len(variants[name.casefold()]) > 1 else name
        for name, ending in zip(names, endings, strict=True)
    ]


def _numbered(names: list[str]) -> list[str]:
    """The first holder of a name keeps it; later ones become name-2, name-3 ... past any taken name."""
    taken = {name.casefold() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        chosen, number = name, 2
        while chosen.casefold() in seen or (chosen != name and chosen.casefold() in taken):
            chosen, number = f"{name}-{number}", number + 1
        seen.add(chosen.casefold())
        result.append(chosen)
    return result
