"""What trains nano-pusht, on made-up tokens and pictures; the simulator where it is installed."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_adapter.transformer.spec import ModelSpec
from scripts.nano.pusht import encode_pushes, push_store, train_patches
from scripts.nano.pusht.encode_pushes import TokenStore
from scripts.nano.pusht.push_store import load_store, mirrored_pictures, mirrored_places
from scripts.nano.pusht.record_pushes import shard_files
from scripts.nano.pusht.train_push_world import (
    PushWindows,
    WindowDraws,
    build_push_network,
    heldout_words,
    plain_state,
    token_losses,
    training_loss,
)
from scripts.nano.train.train_transformer import build_optimizer
from vidjacobi.errors import BadInput
from vidjacobi.eval.policies.pushers import CONTACTS
from vidjacobi.eval.policies.simulator import distance_to_tee
from vidjacobi.families.pusht_network import PushTNetwork, PushTSpec
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec

LEVELS = (4, 3)
SPEC = PushTSpec(
    ModelSpec(
        dim=24,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        ffn_hidden_size=32,
        vocab_size=12,
        video_latent_shape=(4, 2, 2),
        num_video_frames=4,
    ),
    near_width=4,
)
needs_simulator = pytest.mark.skipif(
    importlib.util.find_spec("gym_pusht") is None, reason="the extra pusht is not installed"
)


def token_store(episodes: int = 3, frames: int = 6) -> TokenStore:
    rng = np.random.default_rng(0)
    return TokenStore(
        tokens=torch.from_numpy(rng.integers(0, 12, (episodes, frames, 4))),
        actions=torch.from_numpy(rng.uniform(0, 512, (episodes, frames - 1, 4)).astype(np.float32)),
        states=np.zeros((episodes, frames, 5), np.float32),
        touching=rng.random((episodes, frames)) < 0.3,
    )


def write_shard(folder: Path, first: int, episodes: int = 2, frames: int = 5, size: int = 64) -> None:
    """A grey square that moves on white, and states beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(first)
    pictures = np.full((episodes, frames, size, size, 3), 255, np.uint8)
    for episode in range(episodes):
        for time in range(frames):
            pictures[episode, time, 20 + time : 30 + time, 10:22] = (143, 163, 184)
    moves, path = shard_files(folder, first)
    states = rng.uniform(100, 400, (episodes, 2 * frames - 1, 5)).astype(np.float32)
    actions = rng.uniform(0, 512, (episodes, 2 * frames - 2, 2)).astype(np.float32)
    np.savez(moves.with_suffix(""), actions=actions, states=states, kinds=np.array(["good"] * episodes))
    np.save(path, pictures)


def test_tables_that_share_by_digits_become_plain_ones() -> None:
    net = build_push_network(SPEC, LEVELS, seed=0)
    plain = PushTNetwork(SPEC)
    plain.load_state_dict(plain_state(net.state_dict(), LEVELS))
    tokens, actions = token_store().tokens[:, :4].flatten(1), token_store().actions[:, :3]
    torch.testing.assert_close(plain(tokens, actions), net(tokens, actions))
    table = plain.trunk.tok_embeddings.weight
    near = table @ table.T
    assert near[5, 6] > near[5, 11]  # one step of a digit apart, and far apart


def test_the_loss_of_some_tokens_stands_for_all() -> None:
    net = build_push_network(SPEC, LEVELS, seed=0)
    draws = WindowDraws(token_store(), LEVELS, frames=4)
    windows = draws.at(np.array([0, 1, 2]), np.array([0, 1, 2]), None)
    tokens = windows.tokens.clone()
    tokens[:, 4:12] = tokens[:, :8]  # frames that stay
    windows = PushWindows(tokens, tokens, windows.actions)
    whole = token_losses(net, windows).mean()
    rng = np.random.default_rng(0)
    some = torch.stack([training_loss(net, windows, rng) for _ in range(100)])
    assert some.mean().item() == pytest.approx(whole.item(), abs=4 * some.std().item() / 10)


def test_windows_are_drawn_with_their_own_actions_and_few_noisy_tokens() -> None:
    store = token_store(40, 6)
    draws = WindowDraws(store, LEVELS, frames=4)
    windows = draws.draw(200, np.random.default_rng(0))
    changed = (windows.fed != windows.tokens).float().mean().item()
    assert 0.01 < changed < 0.12
    untold = windows.actions.isnan().any(2).any(1)
    assert windows.actions[untold].isnan().all()
    assert 0 < untold.float().mean() < 0.2
    told = int((~untold).nonzero()[0])
    places = [
        (e, s)
        for e in range(40)
        for s in range(3)
        if store.tokens[e, s : s + 4].flatten().equal(windows.tokens[told])
    ]
    assert len(places) == 1
    episode, start = places[0]
    assert store.actions[episode, start : start + 3].equal(windows.actions[told])


def test_a_noisy_token_is_one_digit_away() -> None:
    draws = WindowDraws(token_store(), LEVELS, frames=4)
    tokens = torch.arange(12).view(1, 1, 12)
    for seed in range(20):
        beside = draws._beside(tokens, np.random.default_rng(seed))
        assert ((beside % 4 - tokens % 4).abs() + (beside // 4 - tokens // 4).abs()).max() <= 1


def test_held_out_losses_are_told() -> None:
    net = build_push_network(SPEC, LEVELS, seed=0)
    words = heldout_words(net, WindowDraws(token_store(), LEVELS, frames=4), 6)
    assert "true actions" in words
    assert "shuffled actions" in words


def test_distances_to_the_tee() -> None:
    points = np.array([[0.0, 15.0], [0.0, -7.0], [90.0, 70.0], [10.0, 130.0]])
    still = np.zeros(3)
    assert distance_to_tee(points, still) == pytest.approx([0, 7, np.hypot(30, 40), 10])
    turned = np.array([100.0, 50.0, np.pi / 2])  # (x, y) of the T's own frame becomes (100 - y, 50 + x)
    moved = np.stack([100 - points[:, 1], 50 + points[:, 0]], 1)
    assert distance_to_tee(moved, np.stack([turned] * 4)) == pytest.approx([0, 7, 50, 10], abs=1e-9)


def test_there_is_a_push_against_every_edge() -> None:
    assert len(CONTACTS) >= 12
    for point, inward in CONTACTS:
        assert distance_to_tee(point, np.zeros(3)) > 15
        assert distance_to_tee(point + 20 * inward, np.zeros(3)) == 0


class DiscWorld:
    """A disc that is where its action's last point said: the patch it is in has the code of its place in it."""

    def __init__(self, episodes: int, side: int = 4, parts: int = 4, frames: int = 4) -> None:
        rng = np.random.default_rng(0)
        points = rng.uniform(0, 512, (episodes, frames - 1, 4)).astype(np.float32)
        first = rng.uniform(0, 512, (episodes, 1, 2))
        cells = np.concatenate([first, points[..., 2:]], 1) / 512 * side * parts
        cells = cells.astype(int)  # x, y in parts of a patch
        places = cells[..., 1] // parts * side + cells[..., 0] // parts
        codes = 1 + cells[..., 1] % parts * parts + cells[..., 0] % parts
        tokens = np.zeros((episodes, frames, side**2), np.int64)
        np.put_along_axis(tokens, places[..., None], codes[..., None], 2)
        self.store = TokenStore(
            torch.from_numpy(tokens),
            torch.from_numpy(points),
            np.zeros((episodes, frames, 5), np.float32),
            np.zeros((episodes, frames), bool),
        )


@pytest.mark.slow
@pytest.mark.unchecked
def test_actions_are_learned_in_a_few_hundred_steps() -> None:
    """What changes is told by the action alone, so a frame that is paired with another's action shows at once."""
    levels = (5, 4)  # 20 codes, of which 17 occur
    trunk = replace(SPEC.trunk, dim=48, ffn_hidden_size=96, vocab_size=20, video_latent_shape=(4, 4, 4))
    net = build_push_network(PushTSpec(trunk, near_width=8), levels, seed=0)
    draws = WindowDraws(DiscWorld(512).store, levels, frames=4)
    optimizer, rng = build_optimizer(net), np.random.default_rng(0)
    for step in range(300):
        loss = training_loss(net, draws.draw(16, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * min(1, (step + 1) / 20) * min(1, (300 - step) / 100)
        optimizer.step()
    words = heldout_words(net, draws, 128)
    true, shuffled = (float(found) for found in re.findall(r"changed tokens ([\d.]+)", words))
    assert true < 0.5, words
    assert shuffled > 3, words


def test_the_mirror_is_its_own_inverse_and_moves_points_with_pictures() -> None:
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8)
    picture[10, 20] = 255  # y 10.5, x 20.5 in pixels of 8 units
    place = torch.tensor([20.5 * 8, 10.5 * 8])
    x, y = (mirrored_places(place) / 8).tolist()
    assert mirrored_pictures(picture)[int(y), int(x)].tolist() == [255] * 3
    assert mirrored_pictures(mirrored_pictures(picture)).equal(picture)
    assert mirrored_places(mirrored_places(place)).equal(place)


def test_episodes_are_read_encoded_and_paired_with_their_actions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for first in (0, 64):
        write_shard(data / "train", first)
    store = load_store(data, "train")
    assert store.starts.tolist() == [0, 2, 4]
    assert store.actions.shape == (4, 4, 4)
    pixels = push_store.draw_pictures(store, 6, 0.0, np.random.default_rng(0))
    assert pixels.shape == (6, 3, 64, 64)
    net = PatchNetwork(PatchSpec(levels=(3, 3), read=8, drawn=8, fine=4))
    train_patches.initialise(net, 0)
    folder = tmp_path / "tokens" / "train"
    folder.mkdir(parents=True)
    for number in range(2):
        for variant in encode_pushes.VARIANTS["train"]:
            codes = encode_pushes.encode(net, store.shards[number], variant)
            np.save(encode_pushes.token_file(folder, number, variant), codes)
    found = encode_pushes.load_token_store(data, tmp_path, "train")
    assert found.tokens.shape == (8, 5, 64)
    torch.testing.assert_close(found.actions[0], mirrored_places(found.actions[4]))
    with pytest.raises(BadInput, match="run pusht-data first"):
        load_store(data, "heldout")


def test_pictures_learn_and_still_patches_keep_their_codes(tmp_path: Path) -> None:
    write_shard(tmp_path / "train", 0)
    store = load_store(tmp_path, "train")
    torch.manual_seed(0)
    net = PatchNetwork(PatchSpec(levels=(5, 5), read=16, drawn=16, fine=8))
    train_patches.initialise(net, 0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        pixels = push_store.draw_pictures(store, 4, 0.0, np.random.default_rng(0))
        loss = train_patches.drawing_loss(train_patches.drawn_again(net, pixels, 0.5), pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert "in still patches 0.00000" in train_patches.flicker(net, store, 2)


@needs_simulator
def test_episodes_are_those_of_their_seeds() -> None:
    from scripts.nano.pusht.record_pushes import record

    one, again, other = record(5, steps=6), record(5, steps=6), record(6, steps=6)
    assert (one.frames == again.frames).all()
    assert (one.states == again.states).all()
    assert (one.states[0] != other.states[0]).any()
    assert one.frames.shape == (4, 64, 64, 3)


@needs_simulator
def test_poses_read_off_true_pictures_are_the_simulators() -> None:
    from vidjacobi.eval.policies.simulator import Simulator
    from vidjacobi.eval.pusht_poses import read_pictures

    simulator = Simulator()
    simulator.place(np.array([100.0, 150.0]), np.array([300.0, 220.0, 1.0]))
    found = read_pictures(simulator.picture()[None])
    assert np.abs(found.agent[0] - [100, 150]).max() < 2
    assert np.abs(found.tee[0, :2] - [300, 220]).max() < 3
    simulator.step(np.array([130.0, 150.0]))
    assert simulator.agent[0] > 101


@needs_simulator
def test_a_lerobot_set_is_read_back(tmp_path: Path) -> None:
    from scripts.nano.pusht.push_dataset import write_set
    from scripts.nano.pusht.record_pushes import record
    from vidjacobi.datasets import open_dataset

    write_set(tmp_path / "set", range(2))
    episodes = list(open_dataset(tmp_path / "set"))
    assert len(episodes) == 2
    # what the networks are trained on, picture by picture
    stored = record(0)
    found = episodes[0].frames.read(0, len(stored.frames), 2).frames.numpy()
    assert found.shape == (41, 64, 64, 3)
    assert (found == stored.frames).all()
    assert episodes[0].actions is not None
    assert np.allclose(episodes[0].actions.read().rows[:80], stored.actions)
