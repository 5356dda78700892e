"""Output folders: named apart, claimed before any work, resumed by the same run, never emptied of foreign files."""

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.output.atomic import remove

LOCK = ".lock"
LONGEST = 120  # bytes; file systems stop at 255, and endings are added to these names
_RESERVED = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
# names that Windows takes for devices
_DEVICES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and how an earlier run of the same kind is told from anything else.

    A rollout replaces its whole folder: ``claim``, then ``restart`` or ``atomic.replacing_folder``. A bench, an
    evaluation and a batch resume in theirs: ``resume``, or ``overwrite`` to begin anew; files of others stay. They
    do it while they hold a lock, so that no two of them open, forget or fill one folder at the same time.

    Attributes:
        path: of the folder.
        kind: what messages call the run: bench, batch ...
        record: the JSON file in which a run says what it is; it marks the folder as that run's.
        parts: glob patterns of everything that such a run leaves in a folder that it shares with other files.
        marks: glob patterns of further files that mark the folder.
        remedy: what to do where the folder belongs to another run.
    """

    path: Path
    kind: str
    record: str
    parts: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    remedy: str = "give another --out, or --overwrite to begin anew"

    @property
    def is_ours(self) -> bool:
        """Whether an earlier run of this kind made the folder."""
        return self.path.is_dir() and any(
            True for pattern in (self.record, *self.marks) for _ in self.path.glob(pattern)
        )

    def create(self) -> None:
        """Make the folder if it is not there, and try whether it can be written to. Raises BadOutput."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".{uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written to: {error.strerror or error}") from error

    def locked(self) -> AbstractContextManager[bool]:
        """Hold this folder for one run, from before it is opened to the run's end; see ``locks.locked``."""
        from vidjacobi.output.locks import locked  # a rollout, which replaces its folder, needs none

        return locked(self.path / LOCK, wait=False)

    def claim(self, overwrite: bool) -> None:
        """Refuse a folder that may not be replaced as a whole; nothing is made or removed yet.

        Raises BadOutput where something exists and ``overwrite`` is off, or it is no earlier run's, or a link.
        """
        is_link = self.path.is_symlink()  # one that points nowhere does not "exist"
        if not is_link and not self.path.exists():
            return
        if not overwrite:
            raise BadOutput(f"{self.path} exists: give another --out, or --overwrite to replace it")
        if is_link or not self.is_ours:
            raise BadOutput(
                f"{self.path} is not an earlier {self.kind}: it is left alone; give another --out"
            )

    def restart(self, overwrite: bool) -> None:
        """An empty folder in place of what ``claim`` let pass, for files that may be read while they grow.

        Raises BadOutput, also where another run has made it since ``claim`` and ``overwrite`` is off.
        """
        try:
            if overwrite and self.path.exists():
                shutil.rmtree(self.path)  # raises OSError for a link
            self.path.mkdir()
        except FileExistsError as error:
            raise BadOutput(
                f"{self.path}: another run has made it meanwhile; what it wrote is kept"
            ) from error
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def refuse_foreign(self, besides: Collection[str]) -> None:
        """Refuse a folder that holds anything but files of an earlier run and the names ``besides``.

        Raises BadOutput.
        """
        if self.is_ours or not self.path.is_dir():
            return
        try:
            foreign = {entry.name for entry in self.path.iterdir()} - set(besides)
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if foreign:
            raise BadOutput(f"{self.path} holds something else ({min(foreign)}): give another --out")

    def resume(self, differences: Callable[[dict[str, Any]], list[str]]) -> dict[str, Any] | None:
        """The record of the earlier run in this folder, None where there is none.

        Args:
            differences: given the record, why the run cannot continue where the earlier one stopped.

        Raises:
            BadOutput: the record cannot be read, or ``differences`` found any.
        """
        if not self.is_ours:
            return None
        file = self.path / self.record
        # Whatever is wrong with the record, the run that left it cannot be told from another.
        try:
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            found = differences(record)
        except OSError as error:
            raise BadOutput(self._damaged(f"{file}: {error.strerror or error}")) from error
        except BadInput as error:  # of another file, which it names
            raise BadOutput(self._damaged(str(error))) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadOutput(self._damaged(f"{file} is damaged: {error!r}")) from error
        if found:
            raise BadOutput(f"{self.path} holds another {self.kind} ({'; '.join(found)}): {self.remedy}")
        return record

    def overwrite(self) -> None:
        """Remove what an earlier run of this kind left here, and nothing else. Links are never followed.

        Raises BadOutput, also where a link stands in the place of a folder.
        """
        if not self.is_ours:
            return
        try:
            for pattern in (*self.parts, *self.marks, self.record):  # the record last: until then it is ours
                for path in list(self.path.glob(pattern)):
                    self._check_reached_without_links(path)
                    remove(path)
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be overwritten: {error}") from error

    def _check_reached_without_links(self, path: Path) -> None:
        """Raise OSError where what a pattern found lies behind a link, or is itself a link to a folder."""
        between = path.relative_to(self.path).parents
        links = [self.path / step for step in between if (self.path / step).is_symlink() and step.name]
        if path.is_symlink() and path.is_dir():
            links.append(path)
        if links:
            raise OSError(f"{links[0]} is a link; what it points to is left alone: remove the link")

    def _damaged(self, why: str) -> str:
        return f"{self.path} holds {_article(self.kind)} that cannot be resumed ({why}): {self.remedy}"


@contextmanager
def still_there(folder: Path) -> Iterator[Callable[[], None]]:
    """Give a check that raises BadOutput once ``folder`` is gone, or another one has its name.

    Files that grow are opened by their names, so that they would grow into what another run puts there.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # no new folder gets its inode while it is open

    def check() -> None:
        try:
            same = os.path.samestat(folder.stat(), os.fstat(handle))
        except OSError:
            same = False
        if not same:
            raise BadOutput(f"{folder}: it was removed or replaced while this run wrote to it")

    try:
        yield check
    finally:
        os.close(handle)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """At the end of the block ``folder`` and its parents go again, where the block made them and left them empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in made:
            try:
                path.rmdir()  # never what holds something, or is a link
            except OSError:
                break


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


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
