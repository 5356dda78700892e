"""A batch is what single rollouts are, however it is spread; and one bad episode is one bad episode."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import Batch, hashes, log_lines, write_clips
from clip_files import encode, moving

import vidjacobi
from vidjacobi.batch import pipeline
from vidjacobi.batch.future_files import FutureFiles
from vidjacobi.batch.manifest import Item
from vidjacobi.batch.manifest_table import compact
from vidjacobi.batch.run import reasons
from vidjacobi.batch.settings import Shard
from vidjacobi.datasets import open_dataset
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.errors import InvalidArgument
from vidjacobi.video.clips import open_clip, read_frames, write_video

pytestmark = pytest.mark.unchecked

Flags = dict[str, Any]


@pytest.mark.usefixtures("ticking_clock")
def test_what_is_done(batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path) -> None:
    rows = batch(tmp_path / "out", **flags)
    assert hashes(rows) == alone
    assert {item[:2] for item in alone} == {("a", 0), ("b", 0), ("b", 8)}
    short = rows["c", None, None]
    assert short.status == "skipped"
    assert "too short: 9 frames, but 16 are needed" in str(short.error)
    one = rows["b", 8, 1]
    assert (one.starts, one.fps, one.new_tokens, one.video) == (2, 10.0, 24, None)
    assert one.nfe is not None
    assert one.tokens_per_pass == pytest.approx(24 / one.nfe)
    assert one.seconds is not None
    assert one.seconds > 0
    with np.load(tmp_path / "out" / str(one.tokens)) as content:
        tokens, latents = torch.from_numpy(content["tokens"]), int(content["context_latents"])
        assert json.loads(str(content["record"]))["tokens_sha256"] == one.tokens_sha256
    assert tokens.shape == (3, 4, 6)
    assert latents == 2
    assert hash_tokens([tokens[latents:]]) == one.tokens_sha256


def test_the_context_is_enough(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    data = write_clips(tmp_path / "clips", (9, 8, 18))
    rows = batch(tmp_path / "out", **{**flags, "data": str(data), "need_truth": False, "samples": 1})
    assert {item[:2] for item in hashes(rows)} == {("a", 0), ("c", 0), ("c", 8)}
    assert "too short: 8 frames, but 9 are needed: a smaller --context" in str(rows["b", None, None].error)


@pytest.mark.parametrize("name", ["bridge", "realestate10k"])
def test_real_episodes_as_short_as_they_are(
    batch: Batch, flags: Flags, shared: Path, tmp_path: Path, name: str
) -> None:
    """Bridge episodes of 24 frames and RealEstate10K clips of 16, at the default 9 frames given and 24 predicted."""
    mine = {**flags, "data": str(shared / "data" / name), "frames": 24, "samples": 1, "starts": "first"}
    rows = batch(tmp_path / "out", **{**mine, "need_truth": False, "limit": 3, "window": 24})
    assert [row.status for row in rows.values()] == ["done"] * 3
    assert {row.new_tokens for row in rows.values()} == {72}  # 3 latent frames of 4x6 tokens


def test_files_that_are_gone_are_made_again(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", {**flags, "limit": 1, "output": "videos"}
    before = hashes(batch(out, **mine))
    gone = [out / "items" / "a" / "000000-0.npz", out / "items" / "a" / "000000-1.mp4"]
    for path in gone:
        path.unlink()
    assert hashes(batch(out, **mine)) == before
    assert all(path.is_file() for path in gone)
    content = gone[0].read_bytes()
    gone[0].write_bytes(content[:-200] + bytes(100) + content[-100:])  # the log's line is whole
    assert hashes(batch(out, **mine)) == before
    with np.load(gone[0]) as made:
        assert {"tokens", "record"} <= set(made)


def test_what_is_odd_for_the_model_is_counted_once(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    data = tmp_path / "wide"
    data.mkdir()
    for name in "ab":
        write_video(data / f"{name}.mp4", torch.zeros(16, 32, 64, 3, dtype=torch.uint8), 10)
    rows = batch(tmp_path / "out", **{**flags, "data": str(data), "samples": 1})
    note = "cropped: the model sees 48x32 pixels, so 25% of the width of the 64x32 pictures is cut off"
    assert all(note in str(row.notes) for row in rows.values())
    (told,) = reasons(tmp_path / "out", compact(tmp_path / "out"))
    assert told.startswith(f"note: 2 futures: {note}")


@pytest.mark.parametrize("rows", [1, pytest.param(3, marks=pytest.mark.slow), 16])
def test_rows_change_nothing(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path, rows: int
) -> None:
    assert hashes(batch(tmp_path / "out", **flags, rows=rows)) == alone


def test_shards_make_one_manifest(batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path) -> None:
    for index in (2, 0, 1):
        rows = batch(tmp_path / "out", Shard(index, 3), **flags)
    assert hashes(rows) == alone
    assert len(log_lines(tmp_path / "out")) == len(alone) + 1


def test_limit_samples_and_resume_add_up(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert len(hashes(batch(out, **{**flags, "samples": 1}, limit=1))) == 1
    assert len(hashes(batch(out, **{**flags, "samples": 1}))) == 3
    assert hashes(batch(out, **flags)) == alone
    before = log_lines(out)
    batch(out, **flags)
    assert log_lines(out) == before  # nothing twice, the short one neither
    assert len(before) == len(alone) + 1


@pytest.mark.parametrize(
    "decoder", ["ar", "fast", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adaptive", "zipar"))]
)
def test_other_decoders(batch: Batch, flags: Flags, tmp_path: Path, decoder: str) -> None:
    mine = {**flags, "decoder": decoder, "frames": 8, "starts": "first", "window": None, "limit": 2}
    many, few = batch(tmp_path / "8", **mine, rows=8), batch(tmp_path / "1", **mine, rows=1)
    assert hashes(many) == hashes(few)
    assert len(hashes(many)) == 4


@pytest.mark.parametrize(("context", "frames"), [(25, 10), pytest.param(9, 27, marks=pytest.mark.slow)])
def test_long_futures_go_on_in_chunks(
    batch: Batch, flags: Flags, tmp_path: Path, context: int, frames: int
) -> None:
    data = write_clips(tmp_path / "clips", (40,))
    mine = {**flags, "data": str(data), "context": context, "frames": frames, "starts": "first"}
    rows = batch(tmp_path / "out", **{**mine, "output": "frames"}, rows=1)
    model, tokenizer = vidjacobi.load(flags["model"], "cpu")
    given = read_frames(data / "a.mp4", 0, context).frames
    rolled = vidjacobi.rollout(given, model, tokenizer, frames, 2, clip_id="a", window=6)
    assert len(rolled.chunks) == 2
    for sample in range(2):
        row = rows["a", 0, sample]
        assert row.tokens_sha256 == rolled.token_hash(sample)
        assert row.nfe == rolled.nfe[sample]
        with np.load(tmp_path / "out" / str(row.tokens)) as content:
            assert np.array_equal(content["tokens"], rolled.tokens[sample].numpy())
        shown = read_frames(tmp_path / "out" / str(row.video), context, frames).frames
        assert shown.equal(rolled.predicted[sample])
    assert hashes(batch(tmp_path / "tokens", **mine, rows=8)) == hashes(rows)


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_frames_have_the_context_first(batch: Batch, flags: Flags, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    rows = batch(out, **{**flags, "output": kind, "limit": 1})
    model, tokenizer = vidjacobi.load(flags["model"], "cpu")
    frames = next(iter(open_dataset(flags["data"]))).frames.read(0, 9).frames
    rolled = vidjacobi.rollout(frames, model, tokenizer, 7, 2, clip_id="a", window=6)
    whole = torch.cat([rolled.context, rolled.predicted[1]])
    path = out / str(rows["a", 0, 1].video)
    assert path.is_dir() is (kind == "frames")
    shown = read_frames(path, 0, 16).frames
    assert open_clip(path).frames == 16
    if kind == "videos":
        write_video(tmp_path / "true.mp4", whole, 10)
        whole = read_frames(tmp_path / "true.mp4", 0, 16).frames
    assert torch.equal(shown, whole)
    assert not [p for p in out.rglob(".*") if p.parent.name != "log"]


def test_padding_and_refusing_the_short(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    mine = {**flags, "data": str(write_clips(tmp_path / "clips", (16, 9)))}
    padded = batch(tmp_path / "pad", **mine, short="pad")
    assert padded["b", 0, 0].status == "done"
    refused = batch(tmp_path / "error", **mine, short="error")
    assert refused["b", None, None].status == "failed"
    assert "too short" in str(refused["b", None, None].error)
    del padded["b", 0, 0], padded["b", 0, 1]
    assert hashes(padded) == hashes(refused)


def test_bad_episodes_are_recorded(batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path) -> None:
    data = write_clips(tmp_path / "clips")
    (data / "aa.mp4").write_bytes(b"\0" * 4000)
    (data / "bb.mp4").write_bytes((data / "b.mp4").read_bytes()[:700])
    (data / "cc.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    out = tmp_path / "out"
    rows = batch(out, **{**flags, "data": str(data)})
    assert hashes(rows) == alone
    failed = {row.episode: row for row in rows.values() if row.status == "failed"}
    assert sorted(failed) == ["aa", "bb", "cc"]
    assert "git-lfs" in str(failed["cc"].error)
    assert all(row.error for row in failed.values())
    (data / "aa.mp4").write_bytes((data / "a.mp4").read_bytes())  # mended: tried again
    again = batch(out, **{**flags, "data": str(data)})
    assert again["aa", 0, 0].status == "done"
    assert ("aa", None, None) not in again
    assert again["bb", None, None].status == "failed"


def test_the_reader_is_chosen_by_name(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    encode(tmp_path / "clips" / "a.ts", moving(20))  # a container that decord does not read rightly
    data = {**flags, "data": str(tmp_path / "clips"), "samples": 1, "starts": "first", "output": "tokens"}
    (refused,) = batch(tmp_path / "decord", **{**data, "reader": "decord"}).values()
    assert refused.status == "failed"
    assert "its container is mpegts; take --reader pyav" in str(refused.error)
    (done,) = batch(tmp_path / "decord", **data).values()  # the reader may change when a batch is resumed
    assert done.status == "done"
    with pytest.raises(InvalidArgument, match="unknown reader 'decored'"):
        batch(tmp_path / "unknown", **{**data, "reader": "decored"})


def test_a_broken_model_fails_every_future_and_ends(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    from tiny_pair import write_pair

    model = write_pair(tmp_path / "model", spoil=float("nan"))
    rows = batch(tmp_path / "out", **{**flags, "model": str(model), "limit": 2})
    assert {row.status for row in rows.values()} == {"failed"}
    assert all("not finite" in str(row.error) for row in rows.values())


def test_fail_fast(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    data = write_clips(tmp_path / "clips", (20,) * 12)
    (data / "aa.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    with pytest.raises(pipeline.FailedFast, match="aa: "):
        batch(out, **{**flags, "data": str(data)}, fail_fast=True)
    assert len(log_lines(out)) < 24


def test_items_have_names_of_their_own(tmp_path: Path) -> None:
    outputs = FutureFiles(tmp_path, "videos", "")
    assert outputs.path(Item("test/0bf1", 16, 3), ".mp4") == tmp_path / "items" / "test_0bf1" / "000016-3.mp4"
    assert outputs.path(Item("../../etc", 0, 0), ".npz").is_relative_to(tmp_path / "items")
    assert outputs.find(Item("a", 0, 0), print) is None
