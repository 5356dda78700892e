"""A bench of a model whose frames follow actions: whose they are, that they count, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pusht import FRAMES, write_tiny_pusht

from vidjacobi.bench.clip_actions import ENDINGS, Wanted, conditions_of
from vidjacobi.bench.likelihood import score
from vidjacobi.bench.material import Source, material_of
from vidjacobi.bench.settings import BenchConfig
from vidjacobi.cli.main import main
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.models.action_spec import ActionSpec
from vidjacobi.models.protocol import flatten
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.video import write_video

SPEC = ActionSpec(("x", "y"), condition=lambda actions: actions, per_frame=2, fps=5.0, low=0.0, high=512.0)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = torch.randint(0, 256, (FRAMES, 16, 16, 3), dtype=torch.uint8)
    write_video(tmp_path / "push.mp4", frames, 5.0)
    return tmp_path / "push.mp4"


@pytest.fixture
def shipped(tmp_path: Path) -> str:
    """A folder of weights with three held-out contexts of two frames, and actions for six."""
    folder = write_tiny_pusht(tmp_path / "weights")
    generator = np.random.default_rng(0)
    np.save(folder / "held_out_contexts.npy", generator.integers(0, 16, (3, 2, 2, 2)).astype(np.uint16))
    np.save(folder / "held_out_actions.npy", generator.uniform(0, 512, (3, 5, 4)).astype(np.float32))
    return f"pusht:{folder}"


def rows(count: int, whole: bool = True) -> np.ndarray:
    return np.arange(4 * count if whole else 2 * count, dtype=np.float32).reshape(count, -1)


def test_actions_are_those_beside_the_clip_or_those_that_are_named(clip: Path, tmp_path: Path) -> None:
    np.save(clip.with_suffix(".npy"), rows(6))
    named = tmp_path / "others.npy"
    np.save(named, rows(6) + 1)
    (found,) = conditions_of(Wanted("m", (clip,), (), 5), SPEC) or []
    assert torch.equal(found, torch.from_numpy(rows(4)))
    found, other = (
        conditions_of(Wanted("m", (clip, clip), (str(named), str(clip.with_suffix(".npy"))), 5), SPEC) or []
    )
    assert torch.equal(found, torch.from_numpy(rows(4) + 1))
    assert torch.equal(other, torch.from_numpy(rows(4)))
    # one action a row: it is held until the next one
    np.save(named, rows(6, whole=False))
    (found,) = conditions_of(Wanted("m", (clip,), (str(named),), 4), SPEC) or []
    assert found.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5]]


def test_what_does_not_fit_is_refused(clip: Path, tmp_path: Path) -> None:
    one = str(clip.with_suffix(".npy"))
    with pytest.raises(InvalidArgument, match=rf"push.mp4: .*\{ENDINGS[0]}.*there is none: name one"):
        conditions_of(Wanted("m", (clip,), (), 5), SPEC)
    np.save(one, rows(3))
    with pytest.raises(BadInput, match="3 actions end before the clip does, which needs action 3"):
        conditions_of(Wanted("m", (clip,), (), 5), SPEC)
    clip.with_suffix(".jsonl").write_text("[1, 2]\n")
    with pytest.raises(InvalidArgument, match=r"there are push.jsonl and push.npy"):
        conditions_of(Wanted("m", (clip,), (), 3), SPEC)
    with pytest.raises(InvalidArgument, match="2 files for 1 clip"):
        conditions_of(Wanted("m", (clip,), (one, one), 3), SPEC)
    with pytest.raises(InvalidArgument, match="frames of nano follow none"):
        conditions_of(Wanted("nano", (clip,), (one,), 3), None)
    assert conditions_of(Wanted("nano", (clip,), (), 3), None) is None
    np.save(one, rows(5) + 600)
    with pytest.raises(BadInput, match="holds 600, and this model's actions go from 0 to 512"):
        conditions_of(Wanted("m", (clip,), (one,), 3), SPEC)
    write_video(clip, torch.zeros(4, 16, 16, 3, dtype=torch.uint8), 10.0)
    np.save(one, rows(5))
    with pytest.raises(BadInput, match=r"frames are 0.1 s apart, and this model's frames are 0.2 s apart"):
        conditions_of(Wanted("m", (clip,), (one,), 3), SPEC)


def test_held_out_clips_have_actions_of_their_own(shipped: str) -> None:
    found = material_of(shipped, BenchConfig(context=2, frames=3, clips=3), Source())
    assert found.conditions is not None
    assert [tuple(one.shape) for one in found.conditions] == [(4, 4)] * 3
    with pytest.raises(
        InvalidArgument, match="have actions for 6 frames, context included, and 7 are wanted"
    ):
        material_of(shipped, BenchConfig(context=2, frames=5, clips=3), Source())
    with pytest.raises(InvalidArgument, match="have actions of their own"):
        material_of(shipped, BenchConfig(context=2, frames=3, clips=3), Source(actions=("a.npy",)))


def test_likelihoods_follow_the_actions(shipped: str) -> None:
    found = material_of(shipped, BenchConfig(context=2, frames=3, clips=3), Source())
    model, given = found.pair[0], found.conditions
    assert given is not None
    whole = torch.cat([flatten(model, found.grids), torch.zeros(3, found.new_tokens, dtype=torch.long)], 1)
    sampling = SamplingParams(1.0, 0.8)
    one = score(model, whole, found.new_tokens, sampling, conditions=given).nll
    assert torch.equal(one, score(model, whole, found.new_tokens, sampling, conditions=given).nll)
    assert not torch.equal(one, score(model, whole, found.new_tokens, sampling, conditions=given[::-1]).nll)


def test_the_command(shipped: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "bench",
        "--context",
        "2",
        "--frames",
        "3",
        "--windows",
        "4",
        "--decoders",
        "pathwise",
        "--dtype",
        "float64",
    ]
    out = str(tmp_path / "bench")
    assert main([*asked, "--clips", "2", "--batch", "2", "--models", shipped, "--out", out]) == 0
    rows_of = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert [row["decoder"] for row in rows_of] == ["ar", "pathwise"]
    assert rows_of[1]["ar_agreement"] == 1.0
    assert rows_of[1]["passes"] < rows_of[0]["passes"]
    # clips of one's own, and other actions into the same folder
    out = str(tmp_path / "own")
    np.save(clip.with_suffix(".npy"), rows(6))
    assert main([*asked, str(clip), "--models", shipped, "--out", out]) == 0
    other = str(tmp_path / "other.npy")
    np.save(other, rows(6) + 7)
    assert main([*asked, str(clip), "--models", shipped, "--out", out, "--actions", other]) == 2
    assert "other clips" in capsys.readouterr().err
    np.save(clip.with_suffix(".npy"), rows(6) + 7)  # the same name
    assert main([*asked, str(clip), "--models", shipped, "--out", out]) == 2
    assert "other clips" in capsys.readouterr().err
    assert main([*asked, "--models", "janus:nowhere", "--out", out]) == 2
    assert "vidjacobi bench pictures" in capsys.readouterr().err
