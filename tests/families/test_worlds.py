"""``vidjacobi rollout`` with MineWorld and iVideoGPT: actions from files, chunks, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_worlds import CODES, WIDTH, write_ivideogpt, write_mineworld

import vidjacobi
from vidjacobi.cli.main import main
from vidjacobi.decoding.api import context_ids
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.families.action_files import between, matrix_of, read_actions
from vidjacobi.families.pairs import load_ivideogpt, load_mineworld
from vidjacobi.families.prompts import first_tokens
from vidjacobi.models.action_spec import numbers_of
from vidjacobi.models.codec import fit
from vidjacobi.runtime import choose
from vidjacobi.video.clips import read_frames, write_video

BUTTONS = [{"camera": [0, 10 * row], "forward": row % 2, "jump": row > 3} for row in range(8)]
NUMBERS = [[0.5 * row, -1.0, row % 2] for row in range(9)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 frames of 24x36 pixels."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(0, 256, (1, 24, 36, 3), generator=generator, dtype=torch.uint8)
    write_video(path, torch.cat([picture.roll(i, 2) for i in range(9)]), 10)
    return path


@pytest.fixture(scope="module")
def mineworld(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_mineworld(tmp_path_factory.mktemp("mineworld") / "weights")


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_ivideogpt(tmp_path_factory.mktemp("ivideogpt") / "weights", acted=True)


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rolled(capsys: pytest.CaptureFixture, out: Path, *words: object) -> dict[str, Any]:
    """Run the command, which must succeed; its record, and the tokens."""
    command = ["rollout", "--device", "cpu", "--dtype", "float32", "--out", out, "--tokens", *words]
    assert main([str(word) for word in command]) == 0, capsys.readouterr().err
    capsys.readouterr()
    folder = out / "clip"
    assert all((folder / name).is_file() for name in ("rollout.mp4", "plain.mp4", "sheet.png"))
    return json.loads((folder / "rollout.json").read_text()) | {"tokens": np.load(folder / "tokens.npy")}


def refusal(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main([str(word) for word in ("rollout", "--device", "cpu", *words)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_mineworld_rolls_out(
    capsys: pytest.CaptureFixture, mineworld: str, clip: Path, tmp_path: Path
) -> None:
    """In one chunk as ``vidjacobi.rollout`` does; with other actions from row 2 on, other frames from there on."""
    same = ("--model", mineworld, clip, "--context", 1, "--frames", 3, "--seed", 3)
    record = rolled(capsys, tmp_path / "a", *same, "--actions", lines(tmp_path / "a.jsonl", BUTTONS))
    assert record["tokens"].shape == (4, 2, 3)
    assert record["config"]["actions"].endswith("a.jsonl")
    assert record["notes"][-1].startswith("actions: rows 0 to 2 of ")
    assert (record["config"]["top_p"], record["config"]["top_k"]) == (0.8, None)
    turned = [*BUTTONS[:2], *({"camera": [5, -60], "attack": 1} for _ in range(6))]
    other = rolled(capsys, tmp_path / "b", *same, "--actions", lines(tmp_path / "b.jsonl", turned))
    assert (other["tokens"][:3] == record["tokens"][:3]).all()
    assert (other["tokens"][3:] != record["tokens"][3:]).any()
    # the library's way
    pair = load_mineworld(Path(mineworld.partition(":")[2]), choose("cpu", "float32"))
    frames = frames_of(clip, 1)
    given: dict[str, Any] = {
        "conditions": [pair.condition(BUTTONS[:3])],
        "clip_id": context_ids(pair.tokenizer.encode(fit(frames, (8, 12))[None]).flatten(1))[0],
        "sampling": vidjacobi.SamplingParams(1.0, 0.8, seed=3),
    }
    found = vidjacobi.rollout(frames, pair.model, pair.tokenizer, 3, **given)
    assert (found.tokens[0].numpy() == record["tokens"]).all()
    with vidjacobi.rollout(frames, pair.model, pair.tokenizer, 3, stream=True, **given) as live:
        groups = [group.frames for group in live]
    assert torch.equal(torch.cat(groups), found.predicted[0])
    ids = [list(map(int, row)) for row in pair.ids(BUTTONS)]
    np.save(tmp_path / "ids.npy", np.array(ids))
    again = rolled(capsys, tmp_path / "c", *same, "--actions", tmp_path / "ids.npy")
    assert (again["tokens"] == record["tokens"]).all()
    streamed = rolled(capsys, tmp_path / "d", *same, "--actions", tmp_path / "ids.npy", "--stream")
    assert (streamed["tokens"] == record["tokens"]).all()


def frames_of(clip: Path, count: int) -> torch.Tensor:
    return read_frames(clip, 0, count).frames


def test_the_library_loads_worlds_by_name(mineworld: str, acting: str) -> None:
    """As the command does; the model makes the condition of actions, and alone needs no image tokenizer."""
    pair = load_mineworld(Path(mineworld.partition(":")[2]), choose("cpu", "float32"))
    model, tokenizer = vidjacobi.load(mineworld, "cpu", "float32")
    given = model.condition(BUTTONS[:2])
    assert given.name == pair.condition(BUTTONS[:2]).name
    assert given.name != model.condition(BUTTONS[3:5]).name
    assert (tokenizer.frame_size, tokenizer.max_frames) == ((8, 12), 4)
    alone = vidjacobi.load_model(mineworld, "cpu", "float32")
    start = torch.arange(6)[None]
    wanted, found, lone = (
        vidjacobi.decode(one, start, 8, "ar", conditions=[given]).tokens for one in (pair.model, model, alone)
    )
    assert torch.equal(found, wanted)
    assert torch.equal(lone, wanted)
    for name, words in ((acting, "makes its model of the context frames"), ("janus:x", "has no clips")):
        with pytest.raises(InvalidArgument, match=f"{words}.*load_family.*Families that do load: mineworld"):
            vidjacobi.load(name, "cpu", "float32")
    with pytest.raises(InvalidArgument, match="not offloaded: most keep parts of their weights"):
        vidjacobi.load(mineworld, "cpu", "float32", offload=True)
    assert vidjacobi.load_family(acting, "cpu").actions["weight"].shape[1] == WIDTH


@pytest.mark.slow
def test_chunks_of_mineworld_take_their_own_actions(
    capsys: pytest.CaptureFixture, mineworld: str, clip: Path, tmp_path: Path
) -> None:
    """Chunks of 4 frames: two are given and two decided, then again; a row changes nothing before its frame."""
    same = ("--model", mineworld, clip, "--start", 1, "--context", 2, "--frames", 4, "--samples", 2)

    def run(name: str, rows: list[Any]) -> np.ndarray:
        out = tmp_path / name
        command = ["rollout", "--device", "cpu", "--dtype", "float32", "--out", out, "--tokens", *same]
        assert (
            main([str(word) for word in (*command, "--actions", lines(tmp_path / f"{name}.jsonl", rows))])
            == 0
        )
        return np.stack([np.load(out / "clip" / f"sample-{sample}" / "tokens.npy") for sample in range(2)])

    first = run("a", BUTTONS)
    assert first.shape == (2, 6, 2, 3)
    for changed in range(8):
        rows = [*BUTTONS[:changed], {"camera": [30, -60], "use": 1}, *BUTTONS[changed + 1 :]]
        found = run(f"changed-{changed}", rows)
        # row 1 leads from the first frame given to the second; row 5 to the last one
        assert (found != first).any() == (1 <= changed <= 5), changed
        known = max(2, changed)  # frames 1 to ``changed`` are as before
        assert (found[:, :known] == first[:, :known]).all()
    capsys.readouterr()


@pytest.mark.slow
def test_ivideogpt_rolls_out(capsys: pytest.CaptureFixture, acting: str, clip: Path, tmp_path: Path) -> None:
    """Two frames are given, rows 1 and 2 lead to the new ones; a fourth frame is of a second chunk."""
    same = ("--model", acting, clip, "--frames", 7, "--seed", 5)
    file = tmp_path / "a.npy"
    np.save(file, np.array(NUMBERS))
    record = rolled(capsys, tmp_path / "a", *same, "--actions", file)
    assert record["context_frames"] == 2
    assert record["predicted_frames"] == 7
    assert record["tokens"].shape == (7, 4, 4)
    assert len(record["acceptance_lengths"]) == 2
    assert (record["config"]["top_p"], record["config"]["top_k"]) == (1.0, 100)
    pair = load_ivideogpt(Path(acting.partition(":")[2]), choose("cpu", "float32"))
    assert pair.max_frames == 7
    frames = frames_of(clip, 2)
    contexts = pair.contexts((fit(frames, (32, 32)).transpose(0, 1) + 1) / 2)
    model = pair.model_of(contexts, torch.tensor(NUMBERS[1:6]), 5)
    name = context_ids(contexts)[0]
    sampling = vidjacobi.SamplingParams(1.0, 1.0, 100, seed=5)
    tokens = vidjacobi.decode(
        model, first_tokens(model, 1), 80, "ar", sampling=sampling, clip_ids=[(name, 0, 0, 0)]
    ).tokens
    assert (tokens.view(5, 4, 4).numpy() == record["tokens"][:5]).all()
    turned = [*NUMBERS[:4], *([9.0, 9.0, 9.0] for _ in range(5))]
    other = rolled(capsys, tmp_path / "b", *same, "--actions", lines(tmp_path / "b.jsonl", turned))
    assert (other["tokens"][:3] == record["tokens"][:3]).all()
    assert (other["tokens"][3] != record["tokens"][3]).any()


@pytest.mark.slow
def test_ivideogpt_rolls_out_without_actions(
    capsys: pytest.CaptureFixture, clip: Path, tmp_path: Path
) -> None:
    model = write_ivideogpt(tmp_path / "weights", acted=False)
    record = rolled(capsys, tmp_path / "out", "--model", model, clip, "--frames", 3)
    assert record["tokens"].shape == (3, 4, 4)
    assert record["new_tokens"] == 50
    assert record["tokens"].max() < 2 * CODES + 2
    np.save(tmp_path / "a.npy", np.array(NUMBERS))
    words = refusal(capsys, "--model", model, clip, "--actions", tmp_path / "a.npy", "--out", tmp_path / "b")
    assert "was trained without actions" in words


def test_what_cannot_be_rolled_out(
    capsys: pytest.CaptureFixture, mineworld: str, acting: str, clip: Path, tmp_path: Path
) -> None:
    few, numbers = lines(tmp_path / "few.jsonl", BUTTONS[:3]), tmp_path / "a.npy"
    np.save(numbers, np.array(NUMBERS))
    wide = tmp_path / "wide.npy"
    np.save(wide, np.zeros((9, WIDTH + 1)))
    odd = lines(tmp_path / "odd.jsonl", [*BUTTONS[:2], {"fly": 1}, *BUTTONS])
    visual = tmp_path / "visual.npy"
    np.save(visual, np.zeros((9, 11), dtype=np.int64))
    out = ("--out", tmp_path / "out")
    for words, said in (
        (("--model", mineworld, "--context", 1), "MineWorld's frames follow actions: give --actions FILE"),
        (
            ("--model", mineworld, "--context", 1, "--frames", 4, "--actions", few),
            "has 3 rows, and rows 0 to 3 are wanted",
        ),
        (
            ("--model", mineworld, "--context", 1, "--frames", 4, "--actions", odd),
            "action 2: an action has no fly",
        ),
        (
            ("--model", mineworld, "--context", 1, "--frames", 4, "--actions", numbers),
            "action 0 must be 11 numbers, not 3",
        ),
        (
            ("--model", mineworld, "--context", 1, "--frames", 4, "--actions", visual),
            "are no ids of actions, which are 8192 to 8261",
        ),
        (("--model", mineworld, "--actions", tmp_path / "none.npy"), "there is no file"),
        (("--model", acting, "--context", 3, "--actions", numbers), "goes on from 2 frames, not 3"),
        (
            ("--model", acting, "--frames", 4, "--actions", numbers, "--stream"),
            "makes frames of whole chunks",
        ),
        (("--model", acting, "--frames", 4), "was trained with actions of 3 numbers: give --actions FILE"),
        (("--model", acting, "--frames", 4, "--actions", wide), "action 1 must be 3 numbers, not 4 numbers"),
        (("--model", acting, "--frames", 24, "--actions", numbers), "rows 1 to 24 are wanted"),
        (
            ("--model", acting, "--frames", 4, "--actions", numbers, "--compile", "default"),
            "leave --compile out",
        ),
        (("--model", "nano", "--actions", numbers), "nano takes no actions"),
        (("--model", "janus:nowhere", "--context", 1), "makes images of a text"),
        (("--model", "mineworld:", "--context", 1), "name the weights too, mineworld:FOLDER"),
    ):
        assert said in refusal(capsys, *words, *out, clip), words
    assert not (tmp_path / "out").exists()


def test_actions_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    assert read_actions(str(tmp_path / "a.npy")) == [[0, 1], [2, 3], [4, 5]]
    assert read_actions(str(lines(tmp_path / "a.jsonl", BUTTONS))) == BUTTONS
    pa = pytest.importorskip("pyarrow", reason="parquet files need pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"action": NUMBERS, "other": [1] * 9}), tmp_path / "a.parquet")
    assert read_actions(f"{tmp_path / 'a.parquet'}:action") == NUMBERS
    for name, kind, words in (
        ("a.parquet", InvalidArgument, "names no column: write .*a.parquet:COLUMN"),
        ("a.parquet:actions", InvalidArgument, "has no column 'actions'. It has: action, other"),
        ("a.txt", InvalidArgument, "name a .npy file"),
        ("none.npy", BadInput, "there is no file"),
    ):
        with pytest.raises(kind, match=words):
            read_actions(str(tmp_path / name))


def test_files_of_actions_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    np.save(tmp_path / "deep.npy", np.zeros((2, 2, 2)))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    (tmp_path / "broken.jsonl").write_text('[1, 2]\n{"a":\n')
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    for name, words in (
        ("broken.npy", "no array of numbers"),
        ("deep.npy", r"must hold numbers \[rows, numbers\], not float64 \[2, 2, 2\]"),
        ("words.npy", "must hold numbers"),
        ("objects.npy", "no array of numbers"),
        ("empty.npy", "has no rows"),
        ("broken.jsonl", "line 2: not valid JSON"),
        ("broken.parquet:action", "cannot be read as parquet"),
    ):
        with pytest.raises(BadInput, match=words):
            read_actions(str(tmp_path / name))
    for row, words in (
        ([1.0, float("nan")], "row 3 holds a number that is not finite"),
        ([1.0, "2"], "row 3, number 1, must be a number"),
        ([1.0], "row 3 must be 2 numbers, not 1 number"),
        ({"a": 1}, "row 3 must be 2 numbers, not"),
        (7, "row 3 must be 2 numbers, not 7"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            numbers_of(row, 2, "row 3")
    with pytest.raises(InvalidArgument, match="action 4 must be 2 numbers"):
        matrix_of([[1, 2], [3]], 2, first=3)
    with pytest.raises(InvalidArgument, match="has 2 rows, and rows 1 to 2 are wanted"):
        between([[1], [2]], 1, 2, "a.npy")
