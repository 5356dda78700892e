"""Batches of MineWorld and nano-pusht on tiny random weights: as rollouts with the same actions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from robot_sets import write_robot_set
from safetensors.torch import save_file
from test_pusht import SPEC, network
from tiny_worlds import drawn, write_mineworld

import vidjacobi
from vidjacobi.acting import absolute_family, acted_files, load_acted
from vidjacobi.batch.fed_actions import read_actions
from vidjacobi.batch.manifest import merged
from vidjacobi.cli.main import main
from vidjacobi.datasets import Episode, open_dataset
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.mineworld import action_ids
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec
from vidjacobi.rollouts.chunks import Chunk
from vidjacobi.video.clips import read_frames, write_video

WALK = [{"camera": [0, 10 * row], "forward": row % 2, "jump": int(row > 3)} for row in range(9)]


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 9 frames of 24x36 pixels, with MineRL's actions beside them."""
    folder = tmp_path_factory.mktemp("walks")
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(0, 256, (1, 24, 36, 3), generator=generator, dtype=torch.uint8)
    for place, name in enumerate("ab"):
        write_video(folder / f"{name}.mp4", torch.cat([picture.roll(i + place, 2) for i in range(9)]), 20)
        rows = [{**row, "attack": place} for row in WALK]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_pusht(folder: Path) -> str:
    """The network of test_pusht over 2x2 patches of 2 pixels, 16 codes."""
    trunk = replace(SPEC.trunk, vocab_size=16, video_latent_shape=(4, 2, 2))
    spec = replace(SPEC, trunk=trunk)
    patches = PatchSpec((4, 4), patch=2, side=2, read=4, drawn=4, fine=4, max_frames=4)
    parts: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
        "transformer": (spec.to_config(), network(spec, torch.float32).state_dict()),
        "tokenizer": (patches.to_config(), drawn(PatchNetwork(patches))),
    }
    for name, (config, state) in parts.items():
        (folder / name).mkdir(parents=True)
        save_file(
            {key: part.contiguous() for key, part in state.items()}, folder / name / "model.safetensors"
        )
        (folder / name / "config.json").write_text(json.dumps(config))
    return f"pusht:{folder}"


def run(out: Path, data: Path, model: str, *words: object) -> int:
    common = ("--dtype", "float32", "--devices", "cpu", "--window", 4, "--out", out, "--output", "tokens")
    return main([str(word) for word in ("batch", data, "--model", model, *common, *words)])


def done(out: Path) -> list[tuple[Any, np.ndarray]]:
    """Rows and the actions fed."""
    rows = [row for row in merged(out) if row.status == "done"]
    found = [read_actions(out / str(row.tokens)) for row in rows]
    return [(row, one.values) for row, one in zip(rows, found, strict=True) if one is not None]


def token_hash(model: str, frames: torch.Tensor, actions: np.ndarray, row: Any, new: int) -> str:
    """Of the rollout with these actions."""
    pair = load_acted(model, "cpu", "float32")
    assert pair.actions is not None
    spec, context = pair.actions, len(frames)

    def given(chunk: Chunk) -> list[Any]:
        first = context + chunk.first - chunk.context
        return [spec.condition(torch.from_numpy(actions[first : first + chunk.context + chunk.latents - 1]))]

    options: dict[str, Any] = {"clip_id": row.episode, "start": row.start, "window": 4, "conditions": given}
    options["sampling"] = vidjacobi.SamplingParams(1.0, 0.8)
    return vidjacobi.rollout(frames, pair.model, pair.tokenizer, new, **options).token_hash(0)


@pytest.mark.slow
def test_mineworld(walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two chunks of 4 frames; ids in the npz, which an exported set feeds again."""
    model = write_mineworld(tmp_path / "mineworld")
    asked = ("--context", 2, "--frames", 4, "--actions")
    assert run(tmp_path / "out", walks, model, *asked, "dataset") == 0, capsys.readouterr().err
    for place, (row, values) in enumerate(done(tmp_path / "out")):
        assert values.tolist() == [action_ids({**WALK[frame], "attack": place}) for frame in range(5)]
        frames = read_frames(walks / f"{row.episode}.mp4", 0, 2).frames
        assert row.tokens_sha256 == token_hash(model, frames, values, row, 4)
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert (settings["settings"]["temperature"], settings["settings"]["model"]) == (1.0, model)
    assert {"300M_16f.ckpt", "tokenizer: vae.ckpt"} <= set(settings["made_with"]["weights"])
    assert run(tmp_path / "zero", walks, model, *asked, "zero", "--output", "videos") == 0
    for row, values in done(tmp_path / "zero"):
        assert values[1:].tolist() == [action_ids({})] * 4
        assert values[0, 8] == action_ids(WALK[0])[8]
        assert row.actions_of == "no-op"
    made = tmp_path / "set"
    assert main(["export", str(tmp_path / "zero"), str(made)]) == 0
    feature = json.loads((made / "meta/info.json").read_text())["features"]["action"]
    assert (feature["shape"], feature["names"][:3]) == ([11], ["begin", "pitch", "yaw"])
    assert run(tmp_path / "again", made, model, *asked, "dataset") == 0
    kept = [values for _, values in done(tmp_path / "zero")]
    assert all(map(np.array_equal, kept, [values for _, values in done(tmp_path / "again")]))
    assert run(tmp_path / "none", walks, model, "--context", 2, "--frames", 4) == 2
    assert "frames follow actions: give --actions dataset or shuffled or zero" in capsys.readouterr().err
    (walks / "a.jsonl").write_text((walks / "a.jsonl").read_text() + '{"mouse": {"dx": 1}}\n')
    (walks / "b.jsonl").write_text('{"mouse": {"dx": 1}}\n' * 9)
    assert run(tmp_path / "wrong", walks, model, *asked, "dataset") == 1
    reasons = [row.error or "" for row in merged(tmp_path / "wrong")]
    assert "a.mp4: 10 actions for 9 frames" in reasons[0]
    assert "an action has no mouse. There are: camera, use" in reasons[1]


@pytest.mark.slow
def test_pusht(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two targets a frame at every second frame of 10 a second, in two chunks."""
    model, data = write_pusht(tmp_path / "weights"), write_robot_set(tmp_path / "set", codec="png")
    place = data / "data/chunk-000/file-000.parquet"
    table = pq.read_table(place)
    times = zip(table["frame_index"].to_pylist(), table["episode_index"].to_pylist(), strict=True)
    rows = [[10.0 * frame, 100.0 * episode] for frame, episode in times]
    pq.write_table(table.set_column(table.column_names.index("action"), "action", [rows]), place)
    asked = ("--context", 2, "--frames", 4, "--actions")
    assert run(tmp_path / "out", data, model, *asked, "dataset", "--stride", 2) == 0, capsys.readouterr().err
    episodes = {one.id: one for one in open_dataset(data, stride=2) if isinstance(one, Episode)}
    for number, (row, values) in enumerate(done(tmp_path / "out")):
        wanted = [[20 * frame, 100 * number, 20 * frame + 10, 100 * number] for frame in range(5)]
        assert values.tolist() == wanted
        frames = episodes[row.episode].frames.read(0, 2).frames
        assert row.tokens_sha256 == token_hash(model, frames, values, row, 4)
    assert run(tmp_path / "zero", data, model, *asked, "zero", "--stride", 2) == 0
    assert done(tmp_path / "zero")[1][1].tolist() == [[0, 100, 10, 100]] + [[10, 100, 10, 100]] * 4
    assert run(tmp_path / "all", data, model, *asked, "dataset") == 2
    assert "frames are 0.1 s apart, and this model's frames are 0.2 s apart" in capsys.readouterr().err
    one = ("--context", 1, "--frames", 3, "--actions", "zero", "--stride", 2)
    assert run(tmp_path / "one", data, model, *one) == 2
    assert "give a --context of 2 frames or more" in capsys.readouterr().err


def test_families_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_pusht(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    assert absolute_family("pusht:weights") == model
    assert absolute_family("pusht:elsewhere") == "pusht:elsewhere"
    assert absolute_family("nano") == "nano"
    names = {
        f"{part}/{file}"
        for part in ("transformer", "tokenizer")
        for file in ("config.json", "model.safetensors")
    }
    assert set(acted_files(model)) == names
    with pytest.raises(InvalidArgument, match="brings a tokenizer of its own"):
        load_acted(model, "cpu", "float32", tokenizer="other")
    with pytest.raises(InvalidArgument, match="are not offloaded"):
        load_acted(model, "cpu", "float32", offload=True)
    with pytest.raises(
        InvalidArgument, match=r"iVideoGPT are made anew for each chunk and clip, .*vidjacobi rollout.*bench"
    ):
        load_acted(f"ivideogpt:{tmp_path}", "cpu")
    with pytest.raises(InvalidArgument, match="`vidjacobi image`"):
        load_acted(f"janus:{tmp_path}", "cpu")
    assert load_acted("micro", "cpu", "float32").actions is None
