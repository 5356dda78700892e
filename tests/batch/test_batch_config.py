"""What a batch is asked for: refused early and in words; what may change and what may not."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.batch.devices import dtype_of
from vidjacobi.batch.future_files import digest_of, open_out, sweep
from vidjacobi.batch.manifest import ManifestRow, new_log
from vidjacobi.batch.settings import BatchPlan, load_plan
from vidjacobi.config.settings import differences
from vidjacobi.config.yaml_files import config_names
from vidjacobi.errors import BadOutput, InvalidArgument
from vidjacobi.runtime import choose


def plan(*pairs: str, **flags: Any) -> BatchPlan:
    return load_plan("default", {"data": "clips", **flags}, pairs)


@pytest.mark.parametrize("name", config_names("batch"))
def test_every_configuration_loads(name: str) -> None:
    load_plan(name, {"data": "x"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": "lerobt"}, "did you mean 'lerobot'"),
        ({"starts": "every"}, "every:N"),
        ({"short": "drop"}, "policy for short episodes"),
        ({"output": "mp4"}, "unknown output 'mp4'"),
        ({"engine": "spark"}, "local, ray"),
        ({"shard": "4/4"}, "0 to n - 1"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"workers": 10**6}, "workers must be at most"),
        ({"workers": 1000}, "on this machine, which has"),
        ({"limit": 0}, "limit must be"),
        ({"samples": 0}, "samples must be"),
        ({"window": 0}, "window must be"),
        ({"seconds": 0.0}, "seconds must be at least 0.001"),
        ({"gpus": -1.0}, "gpus must be at least 0"),
        ({"ray_address": "auto"}, "goes with --engine ray"),
        ({"engine": "ray", "shard": "0/2"}, "leave --shard out"),
        ({"top_p": 2.0}, "top-p must lie"),
        ({"decoder": "patwise"}, "did you mean 'pathwise'"),
    ],
)
def test_refused_in_words(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        plan(**flags)


@pytest.mark.parametrize("pair", ["windw=3", "decoder.nonsense=1", "decoder.window", "decoder."])
def test_settings_of_the_decoder_are_checked(pair: str) -> None:
    with pytest.raises(InvalidArgument):
        plan(pair)


def test_settings_of_the_decoder_count() -> None:
    changed = plan("decoder.draft_tree.depth=2")
    assert changed.decoder.draft_tree is not None
    assert changed.decoder.draft_tree["depth"] == 2
    assert digest_of(changed.settings()) != digest_of(plan().settings())


WORK = {
    "rows": 3,
    "workers": 2,
    "shard": "1/2",
    "samples": 9,
    "limit": 4,
    "devices": "cpu",
    "fail_fast": True,
}


def test_how_the_work_is_spread_may_change() -> None:
    assert plan(**WORK).settings() == plan().settings()
    assert plan(engine="ray", gpus=0.5).settings() == plan().settings()


def test_a_folder_is_gone_on_with_or_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_out(out, plan(frames=3))
    first = open_out(out, plan())  # nothing was done in it
    with closing(new_log(out)) as log:
        log.append(ManifestRow("a"))
    assert open_out(out, plan(**WORK)) == first
    with pytest.raises(
        BadOutput, match=r"another batch \(frames: 24 there, 7 here; decoder.window: .* there"
    ):
        open_out(out, plan(frames=7, window=5))
    with pytest.raises(BadOutput, match="holds a batch: leave --no-resume out"):
        open_out(out, plan(), resume=False)
    (out / "items").mkdir()
    (out / "mine.txt").touch()
    assert open_out(out, plan(frames=7), overwrite=True).digest != first.digest
    assert not (out / "items").exists()
    assert (out / "mine.txt").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadOutput, match=r"holds something else \(thesis.tex\)"):
        open_out(tmp_path, plan(), overwrite=True)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(BadOutput, match="cannot be resumed"):
        open_out(tmp_path, plan())


def test_beside_another_run_nothing_is_forgotten(tmp_path: Path) -> None:
    """Two shards that are started together, of which none has a row yet."""
    out = tmp_path / "out"
    first = open_out(out, plan(shard="0/2"))
    assert open_out(out, plan(shard="1/2"), alone=False) == first
    with pytest.raises(BadOutput, match="another batch"):
        open_out(out, plan(shard="1/2", frames=7), alone=False)
    with pytest.raises(
        BadOutput, match="another run is at work here, and --overwrite would remove its files"
    ):
        open_out(out, plan(shard="1/2"), overwrite=True, alone=False)


def test_overwriting_keeps_the_locks(tmp_path: Path) -> None:
    open_out(tmp_path, plan())
    for name in (".run-0-of-1", "0-of-1-20260101-000000-0123456789ab.jsonl", "mine.jsonl"):
        (tmp_path / "log").mkdir(exist_ok=True)
        (tmp_path / "log" / name).touch()
    open_out(tmp_path, plan(), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [".run-0-of-1", "mine.jsonl"]


def test_a_sweep_removes_only_what_is_ours(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    ours, folder, items = f".{'0' * 32}.npz", f".{'1' * 32}", tmp_path / "out" / "items"
    for place in (treasure, items / "a"):
        place.mkdir(parents=True)
        for name in (ours, ".bashrc", "000000-0.npz"):
            (place / name).touch()
        (place / folder).mkdir()
    (items / "b").symlink_to(treasure)
    (items / "a" / f".{'2' * 32}").symlink_to(treasure)
    sweep(tmp_path / "out", alone=False)
    assert (items / "a" / ours).exists()  # it may be a live run's
    sweep(tmp_path / "out", alone=True)
    assert {path.name for path in (items / "a").iterdir()} == {".bashrc", "000000-0.npz", f".{'2' * 32}"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "items").symlink_to(items)
    sweep(tmp_path / "other", alone=True)
    assert len(list(treasure.iterdir())) == 4


def test_devices_of_other_dtypes_are_refused() -> None:
    assert dtype_of(plan(devices="cpu,cpu").config) == choose("cpu").dtype
    assert str(dtype_of(plan(devices="cpu", dtype="bfloat16").config)) == "torch.bfloat16"


def test_an_output_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadOutput):
        open_out(tmp_path / "file" / "out", plan())


def test_differences_go_into_parts() -> None:
    before = {"a": 1, "d": {"x": 1, "y": 2}, "gone": 1}
    assert differences({"a": 1, "d": {"x": 1, "y": 3}, "new": 0}, before) == [
        "d.y: 2 there, 3 here",
        "new: None there, 0 here",
    ]


def test_paths_mean_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    assert plan().config.data == str(tmp_path / "clips")
    assert plan().config.model == "nano"
