"""Claiming, resuming and overwriting output folders: nothing foreign is swallowed, no link is followed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.errors import BadOutput
from vidjacobi.output.run_folder import RunFolder, removed_if_empty, still_there


def bench(path: Path) -> RunFolder:
    return RunFolder(path, "bench", "bench.json", parts=("tokens", "map_*.png"), marks=("bench.csv",))


def rollout(path: Path) -> RunFolder:
    return RunFolder(path, "rollout", "rollout.json", marks=("*/rollout.json",))


def fill(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    return path


def never(record: dict[str, Any]) -> list[str]:
    raise AssertionError("there is no record")


def test_create_tries_to_write(tmp_path: Path) -> None:
    folder = bench(tmp_path / "a" / "b")
    folder.create()
    folder.create()
    assert list(folder.path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BadOutput, match="cannot be written to"):
        bench(tmp_path / "file" / "out").create()


def test_claim(tmp_path: Path) -> None:
    for overwrite in (False, True):
        rollout(tmp_path / "new").claim(overwrite)
    assert not (tmp_path / "new").exists()
    for names in (["rollout.json"], ["sample-0/rollout.json", "sample-1/rollout.json"]):
        ours = rollout(fill(tmp_path / names[0].replace("/", "_"), *names))
        ours.claim(overwrite=True)
        with pytest.raises(BadOutput, match="--overwrite to replace it"):
            ours.claim(overwrite=False)
        with pytest.raises(BadOutput, match="another run has made it meanwhile"):
            ours.restart(overwrite=False)
        assert ours.is_ours
        ours.restart(overwrite=True)
        assert list(ours.path.iterdir()) == []
    with pytest.raises(BadOutput, match="is not an earlier rollout: it is left alone"):
        rollout(fill(tmp_path / "foreign", "thesis.tex")).claim(overwrite=True)


@pytest.mark.parametrize("target", ["ours", "nothing"])
def test_a_link_is_not_claimed(tmp_path: Path, target: str) -> None:
    fill(tmp_path / "ours", "rollout.json")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(BadOutput, match="left alone"):
        rollout(tmp_path / "link").claim(overwrite=True)
    with pytest.raises(BadOutput, match="exists"):
        rollout(tmp_path / "link").claim(overwrite=False)


def test_resume(tmp_path: Path) -> None:
    folder = bench(tmp_path / "out")
    assert folder.resume(never) is None
    fill(folder.path, "notes.txt")
    assert folder.resume(never) is None
    (folder.path / "bench.json").write_text('{"frames": 8}')
    assert folder.resume(lambda record: []) == {"frames": 8}
    with pytest.raises(
        BadOutput, match=r"holds another bench \(8 there; more\): give another --out, or --over"
    ):
        folder.resume(lambda record: [f"{record['frames']} there", "more"])


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null", '"text"', "[" * 9000])
def test_a_damaged_record_is_not_resumed(tmp_path: Path, content: str) -> None:
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(
        BadOutput, match=r"cannot be resumed \(.*bench.json is damaged: .+\): give another --out"
    ):
        bench(tmp_path).resume(lambda record: [record["config"]])
    assert (tmp_path / "bench.json").read_text() == content


def test_a_mark_without_its_record_is_not_resumed(tmp_path: Path) -> None:
    fill(tmp_path, "bench.csv")
    with pytest.raises(BadOutput, match="cannot be resumed"):
        bench(tmp_path).resume(never)
    evaluation = RunFolder(tmp_path, "evaluation", "bench.csv", remedy="give another --out")
    with pytest.raises(BadOutput, match=r"holds another evaluation \(all\): give another --out$"):
        evaluation.resume(lambda record: ["all"])


def test_overwrite_leaves_what_others_made(tmp_path: Path) -> None:
    fill(
        tmp_path, "bench.json", "bench.csv", "tokens/1.npy", "map_a.png", "notes.txt", "map_a.txt", "other/b"
    )
    bench(tmp_path).overwrite()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["map_a.txt", "notes.txt", "other", "other/b"]


def test_overwrite_touches_nothing_where_no_run_was(tmp_path: Path) -> None:
    fill(tmp_path, "tokens/1.npy", "map_a.png")
    bench(tmp_path).overwrite()
    bench(tmp_path / "nowhere").overwrite()
    assert (tmp_path / "tokens" / "1.npy").exists()
    assert (tmp_path / "map_a.png").exists()


def test_overwrite_follows_no_link(tmp_path: Path) -> None:
    treasure = fill(tmp_path / "treasure", "a", "map.png")
    out = fill(tmp_path / "out", "bench.json")
    (out / "map_a.png").symlink_to(treasure / "map.png")
    bench(out).overwrite()
    assert list(out.iterdir()) == []
    fill(out, "bench.json")
    (out / "tokens").symlink_to(treasure)
    with pytest.raises(BadOutput, match=r"cannot be overwritten: .*tokens is a link; .* left alone"):
        bench(out).overwrite()
    assert sorted(path.name for path in treasure.iterdir()) == ["a", "map.png"]
    assert (out / "bench.json").exists()


def test_overwrite_goes_behind_no_link(tmp_path: Path) -> None:
    treasure = fill(tmp_path / "treasure", "a.jsonl")
    out = fill(tmp_path / "out", "settings.json")
    (out / "log").symlink_to(treasure)
    with pytest.raises(BadOutput, match=r"cannot be overwritten: .*log is a link"):
        RunFolder(out, "batch", "settings.json", parts=("log/*.jsonl",)).overwrite()
    assert (treasure / "a.jsonl").exists()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    folder = bench(tmp_path / "out")
    folder.refuse_foreign(besides=())
    fill(folder.path, "log/.run")
    folder.refuse_foreign(besides=("log",))
    with pytest.raises(BadOutput, match=r"holds something else \(log\)"):
        folder.refuse_foreign(besides=())
    fill(folder.path, "thesis.tex")
    with pytest.raises(BadOutput, match=r"holds something else \(thesis.tex\)"):
        folder.refuse_foreign(besides=("log",))
    (folder.path / "bench.json").write_text(json.dumps({}))
    folder.refuse_foreign(besides=())  # files of others may lie beside an earlier run's


def test_only_what_the_block_made_and_left_empty_goes(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with removed_if_empty(tmp_path / "old" / "a" / "b"):
        (tmp_path / "old" / "a" / "b").mkdir(parents=True)
    assert not any((tmp_path / "old").iterdir())
    with removed_if_empty(tmp_path / "new" / "c"):
        (tmp_path / "new" / "c").mkdir(parents=True)
        (tmp_path / "new" / "kept").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept"]
    with removed_if_empty(tmp_path / "old"):  # was there before
        pass
    assert (tmp_path / "old").is_dir()


def test_a_folder_that_was_replaced_is_not_taken_for_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with still_there(folder) as check:
        (folder / "file").touch()
        check()
        shutil.rmtree(folder)
        with pytest.raises(BadOutput, match="removed or replaced while this run"):
            check()
        folder.mkdir()  # many file systems would give it the same inode
        with pytest.raises(BadOutput, match="removed or replaced while this run"):
            check()
