"""Reading in another process gives the same frames, and nothing can hang or crash the caller."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clip_files import encode, moving
from hanging_sources import Bad
from PIL import Image

import vidjacobi
from vidjacobi.datasets.frame_sources import File
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.timed_reader import TimedReader


@pytest.fixture(scope="module")
def reader() -> Iterator[TimedReader]:
    with TimedReader() as timed:
        yield timed


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_the_same_frames(reader: TimedReader, tmp_path: Path) -> None:
    source = File(encode(tmp_path / "a.mp4", moving(9)))
    assert reader.count(source) == 9
    here, there = source.read(1, 3, stride=2), reader.read(source, 1, 3, stride=2)
    assert there.frames.equal(here.frames)
    assert (there.fps, there.start, there.reader, there.source) == (here.fps, 1, here.reader, here.source)
    with pytest.raises(BadInput, match="10 frames needed, but the clip has 9"):
        reader.read(source, 0, 10)
    (tmp_path / "b.mp4").write_bytes(os.urandom(5000))
    with pytest.raises(BadInput, match="not a video or image"):
        reader.count(File(tmp_path / "b.mp4"))
    assert reader.count(source) == 9


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("crash", "crashed .SIGSEGV."),
        pytest.param("exit", "crashed .exit status 3.", marks=pytest.mark.slow),
        ("odd", "ZeroDivisionError"),
    ],
)
def test_crashes_end_the_worker_only(reader: TimedReader, how: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        reader.count(Bad(how))
    assert reader.count(Bad("well")) == 7
    with pytest.raises(BadInput, match=r"a.mp4: to read it takes more than .* GiB of memory"):
        reader.read(Bad("well"), 0, 1, name="a.mp4")
    assert reader.count(Bad("well")) == 7


@pytest.mark.parametrize("how", ["lock", "files", pytest.param("child", marks=pytest.mark.slow)])
def test_hangs_end_after_the_time_given(
    reader: TimedReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    note = tmp_path / "pid"
    assert reader.count(Bad("well")) == 7
    worker = reader._worker
    assert worker is not None
    monkeypatch.setattr(reader, "seconds", 1.0)
    with pytest.raises(BadInput, match="no answer within 1 s"):
        reader.count(Bad(how, str(note)))
    monkeypatch.undo()
    assert not alive(worker.pid)
    assert how != "child" or not alive(int(note.read_text()))
    assert how != "files" or not Path(note.read_text()).parent.exists()
    assert reader.count(Bad("well")) == 7


def test_an_interrupted_question_is_not_answered_later(
    reader: TimedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.count(Bad("well")) == 7

    def interrupted(line: object, seconds: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(reader._line), "poll", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.count(Bad("well"))
    monkeypatch.undo()
    assert reader._worker is None
    assert reader.count(Bad("well")) == 7


def test_the_worker_ends_with_its_reader(reader: TimedReader) -> None:
    assert reader.count(Bad("well")) == 7
    worker = reader._worker
    assert worker is not None
    reader.close()
    assert worker.poll() is not None
    reader.close()
    assert reader.count(Bad("well")) == 7  # the reader can be used again after it was closed
    orphan, line = reader._worker, reader._line
    assert orphan is not None
    assert line is not None
    line.close()  # as if the parent had been killed
    orphan.wait(30)
    assert orphan.returncode == 0
    reader.close()


@pytest.mark.slow
def test_a_hanging_worker_ends_itself_when_nobody_waits(reader: TimedReader) -> None:
    assert reader.count(Bad("well")) == 7
    worker, line = reader._worker, reader._line
    assert worker is not None
    assert line is not None
    line.send(("count", Bad("lock"), (), -9.5))  # the parent's limit ended 9.5 s before
    assert worker.wait(30) != 0
    reader.close()


def test_the_worker_is_light(reader: TimedReader, tmp_path: Path) -> None:
    """Torch would take seconds and memory."""
    assert reader.count(File(encode(tmp_path / "a.mp4", moving(2)))) == 2
    assert reader.count(Bad("modules")) == 0


def test_a_worker_that_was_ended_between_two_reads_is_replaced(reader: TimedReader) -> None:
    assert reader.count(Bad("well")) == 7
    assert reader._worker is not None
    reader._worker.kill()
    reader._worker.wait()
    assert reader.count(Bad("well")) == 7


def test_memory_is_limited(tmp_path: Path) -> None:
    """Small files of large pictures, which the bounds alone allow."""
    large, video, small = tmp_path / "large.png", tmp_path / "large.mp4", tmp_path / "small.png"
    Image.new("1", (8000, 8000)).save(large)
    encode(video, np.zeros((4, 3072, 4096, 3), np.uint8), codec="mpeg4")
    Image.new("RGB", (6, 4)).save(small)
    with TimedReader(memory=200 << 20) as reader:
        for path, frames in ((large, 1), (video, 4)):
            with pytest.raises(BadInput, match=rf"{path}: to read it takes more than 0.195 GiB of memory"):
                reader.read_frames(path, 0, frames)
            assert reader.read_frames(small, 0, 1).frames.shape == (1, 4, 6, 3)


def test_what_a_caller_did_wrong_is_told_apart_from_a_bad_file(reader: TimedReader, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving(2))
    with pytest.raises(InvalidArgument, match="nonsense"):
        reader.read_frames(path, 0, 1, reader="nonsense")


@pytest.mark.slow
def test_damaged_bytes_give_frames_or_a_message(reader: TimedReader, tmp_path: Path) -> None:
    """300 files with random bytes in places: none ends in another exception, and none needs a new process."""
    Image.fromarray(moving(1)[0]).save(tmp_path / "a.png")
    Image.fromarray(moving(1)[0]).save(tmp_path / "a.jpg")
    whole = [
        encode(tmp_path / "a.mp4", moving(9)),
        encode(tmp_path / "a.mkv", moving(9), codec="libx265"),
        encode(tmp_path / "a.ts", moving(9), codec="mpeg2video"),
        encode(tmp_path / "a.avi", moving(9), codec="mpeg4"),
        tmp_path / "a.png",
        tmp_path / "a.jpg",
    ]
    random = np.random.default_rng(0)
    refused: list[tuple[Path, BadInput]] = []
    for _ in range(50):
        for path in whole:
            data = np.frombuffer(path.read_bytes(), np.uint8).copy()
            places = random.integers(0, len(data), random.integers(1, 40))
            data[places] = random.integers(0, 256, len(places))
            damaged = tmp_path / f"damaged{path.suffix}"
            damaged.write_bytes(data.tobytes())
            try:
                info = reader.open_clip(damaged)
                clip = reader.read_frames(damaged, 0, min(2, info.frames))
                assert clip.pictures.shape == (min(2, info.frames), info.height, info.width, 3)
            except BadInput as error:
                refused.append((damaged, error))
    assert all(str(path) in str(error) for path, error in refused)
    assert 30 < len(refused) < 270


def test_relative_paths_are_those_of_the_caller(
    reader: TimedReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        encode(tmp_path / name / "clip.mp4", moving(2 if name == "a" else 3))
    for name, frames in (("a", 2), ("b", 3)):
        monkeypatch.chdir(tmp_path / name)
        assert reader.open_clip("clip.mp4").frames == frames


def test_commands_read_in_the_other_process_only() -> None:
    """What a library function may do in the caller's process, no command does."""
    root = Path(vidjacobi.__file__).parents[1]
    folders = [
        "vidjacobi/cli",
        "vidjacobi/rollouts",
        "vidjacobi/batch",
        "vidjacobi/bench",
        "vidjacobi/html_report",
        "vidjacobi/export",
    ]
    files = [file for folder in [*folders, "eval"] for file in (root / folder).glob("*.py")]
    assert len(files) > 50
    reads_here = re.compile(
        r"vidjacobi\.video\.(clips|reader|index)\b|vidjacobi\.video import|read_image|from av\b"
    )
    assert [file.name for file in files if reads_here.search(file.read_text("utf-8"))] == []


def test_threads_take_turns(reader: TimedReader, tmp_path: Path) -> None:
    sources = [File(encode(tmp_path / f"{n}.mp4", moving(n))) for n in (3, 5, 8)]
    counts: list[list[int]] = []

    def work() -> None:
        counts.append([reader.count(source) for source in sources])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [[3, 5, 8]] * 4


FORKED = """
import os, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from vidjacobi.video.timed_reader import BadInput, TimedReader

secret = os.open(os.devnull, os.O_RDONLY)
os.set_inheritable(secret, True)
with TimedReader(seconds=5) as reader:
    reader.start()
    worker = reader._worker
    print(type(worker).__name__, os.getpgid(worker.pid) == worker.pid)
    print(reader.open_clip(sys.argv[1]).frames, reader.read_frames(sys.argv[1], 1, 3).pictures.sum())
    files = {os.readlink(path) for path in Path(f"/proc/{worker.pid}/fd").iterdir()}
    print(len(files), sum(name.startswith("socket:") for name in files), os.devnull in files)
    from hanging_sources import Bad

    for how in ("crash", "exit", "files"):
        try:
            reader.count(Bad(how, sys.argv[3]))
        except BadInput as error:
            print(str(error).partition(";")[0])
        print(reader._worker, reader.count(Bad("well")), type(reader._worker).__name__)
print(worker.poll())
reader.start()
reader.close()
print("ended")
"""


def test_a_young_process_forks_its_first_worker(reader: TimedReader, tmp_path: Path) -> None:
    """As isolated as a new interpreter, which each later one is."""
    path = encode(tmp_path / "a.mp4", moving(9))
    there = reader.read_frames(path, 1, 3)
    done = subprocess.run(
        [sys.executable, "-c", FORKED, path, Path(__file__).parent, tmp_path / "note"],
        env={**os.environ, "OMP_NUM_THREADS": "2"},  # numpy's threads may be there when it forks
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "_Fork True",
        f"9 {there.pictures.sum()}",
        "2 1 True",
        "its reader crashed (SIGSEGV)",
        "None 7 Popen",
        "its reader crashed (exit status 3)",
        "None 7 Popen",
        "no answer within 5 s",
        "None 7 Popen",
        "-11",
        "ended",
    ]
