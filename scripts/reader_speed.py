"""Seconds that a read of 9 frames takes with decord and with PyAV, in turn, on the same files.

    python scripts/reader_speed.py clip.mp4 more/*.mp4

decord is timed twice: as `--reader decord` runs it, in a process of its own and compared with PyAV at both ends, and
bare, in this process and without any check. Each read is of a file that the reader has not open; our index of the
file, which all ways need, is timed apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vidjacobi.errors import BadInput
from vidjacobi.video import decord_reader, pyav_reader
from vidjacobi.video.index import index_video

FRAMES, ROUNDS = 9, 5


def bare(path: Path, picks: np.ndarray) -> None:
    """decord alone."""
    import decord

    decord.VideoReader(str(path), num_threads=1).get_batch(picks.tolist()).asnumpy()


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    """A line a file and place, and the medians of the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    print("file | frame | index | PyAV | --reader decord | decord alone | PyAV / decord alone")
    ratios = []
    for path in parser.parse_args().files:
        index = index_video(path)
        if reason := decord_reader.why_not(index):
            print(f"{path.name}: not for decord: {reason}")
            continue
        last = len(index.stamps) - FRAMES
        for start in sorted({0, last // 2, last}) if last >= 0 else []:
            picks = np.arange(start, start + FRAMES)
            ways: dict[str, Callable[[], object]] = {
                "index": lambda path=path: index_video(path),
                "PyAV": lambda path=path, picks=picks, index=index: pyav_reader.read(path, index, picks),
                "checked": lambda path=path, picks=picks, index=index: decord_reader.read(path, index, picks),
                "bare": lambda path=path, picks=picks: bare(path, picks),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            try:
                for _ in range(ROUNDS):  # in turn, so that a busy moment meets all of them
                    for name, way in ways.items():
                        times[name].append(seconds(way))
            except BadInput as error:
                print(f"{path.name} | {start} | {error}")
                continue
            ratio = statistics.median(a / b for a, b in zip(times["PyAV"], times["bare"], strict=True))
            ratios.append(ratio)
            cells = [f"{statistics.median(taken):.3f}" for taken in times.values()]
            print(f"{path.name} | {start} | {' | '.join(cells)} | {ratio:.2f}", flush=True)
    if ratios:
        print(f"PyAV / decord alone: median {statistics.median(ratios):.2f} of {len(ratios)} reads")


if __name__ == "__main__":
    main()
