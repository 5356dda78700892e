"""nano-pusht as it ships: it follows its actions, and pathwise and sessions give AR's tokens."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi.acting import absolute_family, acted_family
from vidjacobi.cli.main import main
from vidjacobi.eval.pusht_poses import read_pictures
from vidjacobi.families.opening import FamilyName, family_name, load_family
from vidjacobi.families.pusht import SAMPLING, PushT
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.session import Session

FOLDER = Path(str(resources.files("vidjacobi"))) / "assets" / "nano_pusht"
NEW = 4  # frames
pytestmark = pytest.mark.unchecked


@pytest.fixture(scope="module")
def family() -> PushT:
    return load_family("nano-pusht", "cpu", "float32")


@pytest.fixture(scope="module")
def clips() -> tuple[Tensor, Tensor]:
    """Contexts ``[n 4 8 8]`` and the actions of all frames ``[n 7 4]``."""
    contexts = np.load(FOLDER / "held_out_contexts.npy").astype(np.int64)
    return torch.from_numpy(contexts), torch.from_numpy(np.load(FOLDER / "held_out_actions.npy"))


def decoded(family: PushT, contexts: Tensor, actions: Tensor, decoder: str = "pathwise") -> Tensor:
    names = [f"clip {number}" for number in range(len(contexts))]
    window = None if decoder == "ar" else 64
    found = vidjacobi.decode(
        family.world(actions), contexts.flatten(1), NEW * 64, decoder, window, SAMPLING, clip_ids=names
    )
    return found.tokens.view(-1, NEW, 8, 8)


def test_what_ships_is_small_and_has_a_name(clips: tuple[Tensor, Tensor]) -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 15e6
    assert family_name("nano-pusht") == FamilyName("pusht", str(FOLDER))
    model, tokenizer = vidjacobi.load("nano-pusht", "cpu", "float32")
    assert (model.vocab_size, tokenizer.frame_size) == (4096, (64, 64))
    assert acted_family("nano-pusht") == family_name("nano-pusht")
    assert absolute_family("nano-pusht") == "nano-pusht"  # no path of this machine is kept
    contexts, actions = clips
    assert contexts.shape[1:] == (NEW, 8, 8)
    assert len(contexts) == len(actions) >= 32
    assert ((actions >= 0) & (actions <= 512)).all()


@pytest.mark.slow
def test_pathwise_gives_the_tokens_of_ar(family: PushT, clips: tuple[Tensor, Tensor]) -> None:
    contexts, actions = (part[:4] for part in clips)
    wanted = decoded(family, contexts, actions, "ar")
    assert torch.equal(decoded(family, contexts, actions), wanted)


@pytest.mark.slow
def test_a_session_goes_on_as_one_decode_does(family: PushT, clips: tuple[Tensor, Tensor]) -> None:
    """From the frames themselves, whose tokens name the clip."""
    context, actions = (part[2] for part in clips)
    frames = tokens_to_frames(context, family.tokenizer)
    session = Session(
        family.world(),
        family.tokenizer,
        frames,
        sampling=SAMPLING,
        window=64,
        names=["a clip"],
        condition=family.condition,
        context_actions=[list(actions[: NEW - 1])],
    )
    given = session.tokens[0]
    for action in actions[NEW - 1 :]:
        session.step([action], pixels=False)
    whole = vidjacobi.rollout(
        frames,
        family.world(),
        family.tokenizer,
        NEW,
        sampling=SAMPLING,
        window=64,
        clip_id="a clip",
        conditions=[actions],
    )
    assert torch.equal(session.tokens[0], whole.tokens[0])
    assert torch.equal(given, session.tokens[0][:NEW])


@pytest.mark.slow
def test_the_agent_goes_where_its_own_actions_say(family: PushT, clips: tuple[Tensor, Tensor]) -> None:
    """Control: the points of another clip are as far from the agent as chance has it."""
    contexts, actions = (part[:24] for part in clips)
    tokens = decoded(family, contexts, actions)
    shown = np.stack([tokens_to_frames(clip, family.tokenizer)[-1].numpy() for clip in tokens])
    reading = read_pictures(shown)
    seen = ~reading.lost
    assert seen.mean() > 0.9
    goals = actions[:, NEW + 2, :2].numpy()  # the last action's first point: the agent is a little behind
    own = np.linalg.norm(reading.agent - goals, axis=1)[seen]
    other = np.linalg.norm(reading.agent - np.roll(goals, 12, 0), axis=1)[seen]
    assert np.median(own) < 60 < np.median(other)
    assert (own < other).mean() > 0.85


def test_a_command_that_gives_no_actions_names_those_that_do(capsys: pytest.CaptureFixture) -> None:
    assert main(["rollout", "--model", "nano-pusht"]) == 2
    assert "`vidjacobi batch --actions`, `vidjacobi play` and" in capsys.readouterr().err
