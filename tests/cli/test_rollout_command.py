"""The rollout command on a tiny random model: what it writes, and what it refuses."""

import json
from importlib import resources
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pair import write_pair

import vidjacobi
from vidjacobi.cli.main import main
from vidjacobi.rollouts.clip_job import domain_note
from vidjacobi.video.clips import read_frames, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 40x70 pixels at 12.5 fps."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(0, 256, (1, 40, 70, 3), generator=generator, dtype=torch.uint8)
    write_video(path, torch.cat([picture.roll(i, 2) for i in range(12)]), 12.5)
    return path


def run(capsys: pytest.CaptureFixture, *words: object) -> dict:
    """Run the command, which must succeed; its JSON line."""
    assert main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refusal(capsys: pytest.CaptureFixture, *words: object) -> str:
    """Run the command, which must refuse; its message."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert "vidjacobi: error: " in said.err
    assert "Traceback" not in said.err
    return said.err


def size_of(video: Path) -> tuple[int, int]:
    """(height, width)."""
    with av.open(video) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width


def base(tiny_pair: Path, out: Path) -> list[object]:
    return ["rollout", "--model", tiny_pair, "--out", out, "--device", "cpu"]


def test_writes_video_sheet_and_numbers(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    result = run(capsys, *base(tiny_pair, tmp_path), clip, "--frames", 5, "--seed", 3, "--tokens", "--trace")
    folder = tmp_path / "clip"
    assert [output["folder"] for output in result["outputs"]] == [str(folder)]
    assert sorted(path.name for path in folder.iterdir()) == [
        "plain.mp4",
        "rollout.json",
        "rollout.mp4",
        "sheet.png",
        "tokens.npy",
        "trace.npz",
    ]
    record = json.loads((folder / "rollout.json").read_text())
    assert record["context_frames"] == 9
    assert record["predicted_frames"] == 5
    assert record["new_tokens"] == 24
    assert record["fps"] == 12.5
    assert record["guarantee"].startswith("identical")
    assert sum(record["acceptance_lengths"][0]) == 24
    assert len(record["acceptance_lengths"][0]) == record["nfe"]
    assert record["seed"] == 3
    assert record["truth_frames"] == 3  # of the 12 frames 9 were given
    assert size_of(folder / "rollout.mp4") == (7 * 32 + 22, 2 * 7 * 48 + 8)  # 48 * 7 is the first above 320
    with av.open(folder / "plain.mp4") as video:
        stream = video.streams.video[0]
        assert (stream.height, stream.width) == (32, 48)
        assert stream.average_rate == 12.5
        assert stream.pix_fmt == "yuv420p"
        assert sum(1 for _ in video.decode(stream)) == 14
    assert np.load(folder / "tokens.npy").shape == (3, 4, 6)
    with np.load(folder / "trace.npz") as trace:
        assert trace["decided"].sum() == 24
        assert trace["decided_in"].max() == record["nfe"]


def test_the_same_seed_gives_the_same_tokens_and_another_does_not(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    def tokens(seed: int, *extra: object) -> list[str]:
        words = (*base(tiny_pair, tmp_path), "--overwrite", clip, "--frames", 8, "--seed", seed, *extra)
        return [output["tokens_sha256"] for output in run(capsys, *words)["outputs"]]

    first = tokens(0)
    assert tokens(0, "--window", 5) == first  # pathwise: the window does not matter
    assert tokens(0, "--decoder", "ar") == first
    assert tokens(1) != first
    three = tokens(0, "--samples", 3)
    assert three[0] == first[0]
    assert len(set(three)) == 3
    record = json.loads((tmp_path / "clip" / "sample-1" / "rollout.json").read_text())
    assert record["prefill_shared_by"] == [3]
    assert record["nfe_with_shared_prefill"] == pytest.approx(record["nfe"] - 2 / 3, abs=1e-4)


def test_longer_rollouts_are_made_in_chunks(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    run(capsys, *base(tiny_pair, tmp_path), clip, "--frames", 40, "--tokens")
    record = json.loads((tmp_path / "clip" / "rollout.json").read_text())
    assert record["predicted_frames"] == 40
    assert len(record["acceptance_lengths"]) == 2
    assert record["new_tokens"] == 24 * (3 + 2)  # 24 frames, then 16 of the next chunk
    assert record["latent_grid"] == [7, 4, 6]


def test_image_and_folder_inputs(capsys: pytest.CaptureFixture, tiny_pair: Path, tmp_path: Path) -> None:
    Image.new("L", (60, 50), 90).save(tmp_path / "grey.png")
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(9):
        Image.new("RGBA", (50, 60), (10 * i, 20, 30, 200)).save(frames / f"{i}.png")
    run(capsys, *base(tiny_pair, tmp_path / "o"), tmp_path / "grey.png", frames, "--frames", 1)
    records = [
        json.loads((tmp_path / "o" / name / "rollout.json").read_text()) for name in ("grey", "frames")
    ]
    assert [record["context_frames"] for record in records] == [1, 9]
    assert [record["fps"] for record in records] == [25, 25]


def test_start_and_context_from_last(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    words = (*base(tiny_pair, tmp_path), "--overwrite", "--frames", 1, clip)
    (fourth,) = run(capsys, *words, "--start", 3)["outputs"]
    (first,) = run(capsys, *words)["outputs"]
    (last,) = run(capsys, *words, "--context-from", "last")["outputs"]
    assert json.loads((tmp_path / "clip" / "rollout.json").read_text())["start"] == 3
    assert fourth["tokens_sha256"] == last["tokens_sha256"] != first["tokens_sha256"]


def test_equal_names_do_not_collide(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    sources = []
    for name in ("a", "ü b"):
        sources.append(tmp_path / name / "rgb.mp4")
        sources[-1].parent.mkdir()
        sources[-1].write_bytes(clip.read_bytes())
    result = run(capsys, *base(tiny_pair, tmp_path / "o"), *sources, "--frames", 1, "context=1")
    assert len({output["folder"] for output in result["outputs"]}) == 2


def test_settings_reach_the_decoder(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    run(capsys, *base(tiny_pair, tmp_path), clip, "frames=2", "decoder.draft.keep=7", "--decoder", "pathwise")
    record = json.loads((tmp_path / "clip" / "rollout.json").read_text())
    assert record["predicted_frames"] == 2
    assert record["decoder"]["draft"] == {"name": "previous_frame_probs", "keep": 7}


BAD_WORDS = [
    (["--model", "nanno"], "did you mean 'nano'"),
    (["--decoder", "pathwize"], "did you mean 'pathwise'"),
    (["framez=3"], "did you mean 'frames'"),
    (["decoder.windoe=3"], "did you mean 'window'"),
    (["decoder.draft.name=previous_frame_prob"], "did you mean 'previous_frame_probs'"),
    (["frames=soon"], "frames"),
    (["--window", "0"], "window must be at least 1"),
    (["--top-p", "0"], "top-p must lie in (0, 1]"),
    (["--top-p", "1.5"], "top-p must lie in (0, 1]"),
    (["--top-k", "0"], "top_k must be at least 1"),
    (["--temperature", "-1"], "temperature must be"),
    (["--frames", "0"], "frames must be at least 1"),
    (["--samples", "0"], "samples must be at least 1"),
    (["--context", "0"], "context must be at least 1"),
    (["--context", "8"], "use 1, 9, 17, 25"),
    (["--context", "33"], "frames"),
    (["--start", "-1"], "start must be at least 0"),
    (["--start", "4"], "frames"),
    (["--start", "1", "--context-from", "last"], "cannot go with"),
    (["--device", "cuda:7"], "cuda"),
    (["--device", "toaster"], "unknown device"),
    (["--device", "meta"], "unknown device 'meta': use cpu, cuda, cuda:N or auto"),
    (["--device", "cuda:99999"], "unknown device"),
    (["--frames", "8", "frames=16"], "frames is given twice, as 8 and as 16"),
    (["--decoder", "ar", "--window", "64"], "'ar' decides one token per pass: leave its window out"),
    (["--frames", "1e3"], "argument --frames: must be a whole number, not '1e3'"),
    (["--top-p", "nan"], "argument --top-p: must be a number, not 'nan'"),
    (["--frames", "9" * 30], "frames must be at most 1,000,000"),
    (["seed=[1"], "seed=[1, line 1"),
    (["--framez", "3"], "unrecognized arguments: --framez"),
    (["--dtype", "float8"], "unknown dtype"),
    (["--config", "cosmos5b"], "did you mean 'cosmos4b'"),
]


@pytest.mark.parametrize(("words", "message"), BAD_WORDS, ids=lambda value: "".join(value)[:30])
def test_refuses_bad_settings(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    out = tmp_path / "o"
    assert message in refusal(capsys, *base(tiny_pair, out), clip, *words)
    assert not out.exists()


def test_a_failed_fetch_leaves_no_folder(
    capsys: pytest.CaptureFixture, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = [
        "rollout",
        clip,
        "--model",
        "nobody/nothing",
        "--no-memory-check",
        "--out",
        tmp_path / "new" / "o",
    ]
    assert "could not be fetched" in refusal(capsys, *words)
    assert not (tmp_path / "new").exists()


def test_refuses_bad_clips_before_any_work(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 20)
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    for bad in ("text.mp4", "zero.mp4", "folder.mp4", "missing.mp4"):
        message = refusal(capsys, *base(tiny_pair, tmp_path / "o"), clip, tmp_path / bad)
        assert bad in message
        assert not (tmp_path / "o").exists()


def test_keeps_what_is_there(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    words = (*base(tiny_pair, tmp_path), clip, "--frames", 1)
    run(capsys, *words)
    assert "--overwrite" in refusal(capsys, *words)
    run(capsys, *words, "--overwrite")
    foreign = tmp_path / "o2" / "clip"
    foreign.mkdir(parents=True)
    (foreign / "thesis.tex").touch()
    words = (*base(tiny_pair, tmp_path / "o2"), clip, "--frames", 1, "--overwrite")
    assert "left alone" in refusal(capsys, *words)
    assert (foreign / "thesis.tex").exists()


def test_output_that_cannot_be_written(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(capsys, *base(tiny_pair, tmp_path / "file" / "o"), clip)


def test_nan_logits_stop_with_nothing_half_written(
    capsys: pytest.CaptureFixture, clip: Path, tmp_path: Path
) -> None:
    broken = write_pair(tmp_path / "broken", spoil=float("nan"))
    message = refusal(capsys, *base(broken, tmp_path / "o"), clip, "--frames", 1)
    assert "not finite" in message
    assert not (tmp_path / "o").exists()


def test_damaged_checkpoints(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load, save_file

    weights = tmp_path / "m" / "transformer" / "model.safetensors"
    write_pair(tmp_path / "m")
    whole = weights.read_bytes()
    state = load(whole)  # not mapped: the file is rewritten below
    words = (*base(tmp_path / "m", tmp_path / "o"), clip)
    weights.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(capsys, *words)
    save_file({k: v for k, v in state.items() if "w3" not in k}, weights)
    assert "missing" in refusal(capsys, *words)
    save_file({**state, "model.norm.weight": torch.ones(31)}, weights)
    assert "norm.weight" in refusal(capsys, *words)
    (tmp_path / "empty").mkdir()
    assert "tokenizer" in refusal(capsys, *base(tmp_path / "empty", tmp_path / "o"), clip)


@pytest.mark.parametrize("how", [[], ["--stream"]])
def test_the_video_to_watch_is_as_large_as_wished(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path, how: list[str]
) -> None:
    more = ["--frames", 2, "--scale", 3, "--resampling", "nearest", *how]
    run(capsys, *base(tiny_pair, tmp_path), clip, "--start", 3, *more)
    assert size_of(tmp_path / "clip" / "rollout.mp4") == (
        3 * 32 + 22,
        3 * 48,
    )  # the clip has no further frame
    assert size_of(tmp_path / "clip" / "plain.mp4") == (32, 48)
    assert "scale" in refusal(capsys, *base(tiny_pair, tmp_path / "o"), clip, "--scale", 99)
    for number in ("2.0", "1_0"):  # read as every other number of a flag
        said = refusal(capsys, *base(tiny_pair, tmp_path / "o"), clip, "--scale", number)
        assert f"--scale: must be a whole number, not '{number}'" in said
    assert "did you mean" in refusal(capsys, *base(tiny_pair, tmp_path / "o"), clip, "--resampling", "nerest")


@pytest.mark.parametrize("how", [[], ["--stream"]])
def test_a_page_shows_all_futures_beside_the_truth(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path, how: list[str]
) -> None:
    run(capsys, *base(tiny_pair, tmp_path), clip, "--frames", 2, "--samples", 2, "--html", *how)
    page = (tmp_path / "clip" / "rollout.html").read_text()
    assert page.count("<video") == 3
    for words in ("truth", "future 0", "future 1", "cropped: the model sees 48x32 pixels"):
        assert words in page
    record = json.loads((tmp_path / "clip" / "sample-1" / "rollout.json").read_text())
    assert record["tokens_sha256"] in page
    assert "2 frames after the context" in page
    run(capsys, *base(tiny_pair, tmp_path / "one"), clip, "--frames", 1, "--html", *how)
    page = (tmp_path / "one" / "clip" / "rollout.html").read_text()
    assert "1 frame after the context" in page
    assert "1 frames" not in page


@pytest.mark.parametrize("how", [[], ["--stream"]])
def test_quiet_prints_the_last_line_only(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path, how: list[str]
) -> None:
    words = [*map(str, base(tiny_pair, tmp_path)), str(clip), "--frames", "2", *how]
    assert main([*words, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    (line,) = said.out.splitlines()
    assert json.loads(line)["outputs"]
    assert main([*words, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert "note: cropped: the model sees 48x32 pixels, so 14% of the width of the 70x40 pictures" in said.err


def test_what_followed_need_not_be_readable(
    capsys: pytest.CaptureFixture, tiny_pair: Path, tmp_path: Path
) -> None:
    """A picture after the context is damaged: the rollout is made, and says what it could not show."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (48, 32), (10 * i, 20, 30)).save(folder / f"{i:02}.png")
    (folder / "10.png").write_bytes((folder / "10.png").read_bytes()[:60])
    run(capsys, *base(tiny_pair, tmp_path / "o"), folder, "--frames", 3)
    record = json.loads((tmp_path / "o" / "frames" / "rollout.json").read_text())
    assert record["predicted_frames"] == 3
    assert any("10.png" in note for note in record["notes"])


def test_a_bundled_model_far_from_its_domain_is_told(tmp_path: Path) -> None:
    """Noise is nothing that micro knows; the bundled sample is."""
    _, tokenizer = vidjacobi.load("micro", "cpu", "float32")
    noise = torch.randint(0, 256, (9, 40, 50, 3), generator=torch.Generator().manual_seed(2)).byte()
    note = domain_note("micro", noise, tokenizer)
    assert note is not None
    assert "micro was trained on rendered rooms" in note
    sample = read_frames(resources.files("vidjacobi") / "assets" / "sample.mp4", 0, 9).frames
    assert domain_note("micro", sample, tokenizer) is None
    assert domain_note(str(tmp_path), noise, tokenizer) is None


def test_the_reader_is_chosen_by_name(
    capsys: pytest.CaptureFixture,
    tiny_pair: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*base(tiny_pair, tmp_path / "out"), clip, "--frames", 1, "--overwrite"]
    run(capsys, *words, "--reader", "pyav")
    assert json.loads((tmp_path / "out" / "clip" / "rollout.json").read_text())["reader"] == "pyav"
    assert "unknown reader 'decored' (did you mean 'decord'?)" in refusal(
        capsys, *words, "--reader", "decored"
    )
    with av.open(clip) as old, av.open(tmp_path / "clip.ts", "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    words[words.index(clip)] = tmp_path / "clip.ts"
    monkeypatch.setattr("vidjacobi.cli.rollout_clips.load_pair", lambda config: pytest.fail("loaded first"))
    assert "take --reader pyav" in refusal(capsys, *words, "reader=decord")
