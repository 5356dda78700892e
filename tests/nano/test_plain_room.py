"""The procedural clips: deterministic, of the promised shapes, with true poses and disjoint seeds."""

import pytest
import torch

from scripts.nano.render import camera_paths, make_data, plain_room

SMALL = (32, 40)


def test_shapes_and_types() -> None:
    clip = plain_room.render_plain_room(3, frames=2)
    assert clip.frames.shape == (2, 128, 160, 3)
    assert clip.frames.dtype == torch.uint8
    assert clip.poses.shape == (2, 4, 4)


def test_a_seed_gives_the_same_clip_and_another_seed_another() -> None:
    first, again, other = (plain_room.render_plain_room(seed, frames=3, size=SMALL) for seed in (5, 5, 6))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.poses, again.poses)
    assert not torch.equal(first.frames, other.frames)


def test_global_random_state_does_not_matter() -> None:
    torch.manual_seed(1)
    first = plain_room.render_plain_room(5, frames=2, size=SMALL)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first.frames, plain_room.render_plain_room(5, frames=2, size=SMALL).frames)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(4))
def test_a_long_clip_continues_a_short_one(seed: int) -> None:
    short, long = (plain_room.render_plain_room(seed, frames=n, size=SMALL) for n in (9, 97))
    assert len(long.frames) == 97
    assert torch.equal(long.frames[:9], short.frames)


@pytest.mark.parametrize("seed", range(20))
def test_poses_are_rotations_inside_the_room(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    room = plain_room.sample_room(generator)
    path = camera_paths.sample_sinusoidal_path(room.size, room.boxes[: room.solid], generator)
    poses = path.poses(200, fps=25.0)
    turns, places = poses[:, :3, :3], poses[:, :3, 3]
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(200), atol=1e-5, rtol=0)
    assert ((places > 0.2) & (places < room.size - 0.2)).all()
    assert (places.diff(dim=0).norm(dim=1) * 25 < 2.5).all()  # metres a second


def test_every_motion_occurs_and_moving_cameras_change_the_picture() -> None:
    clips = [plain_room.render_plain_room(seed, frames=17, size=SMALL) for seed in range(40)]
    assert {clip.motion for clip in clips} == {"dolly", "pan", "orbit", "still"}
    for clip in clips:
        change = (clip.frames[0].float() - clip.frames[-1].float()).abs().mean()
        assert (change == 0) == (clip.motion == "still")


def test_geometry_a_box_hides_the_wall_behind_it() -> None:
    room = plain_room.sample_room(torch.Generator().manual_seed(0))
    room = plain_room.PlainRoom(
        size=torch.tensor([4.0, 3.0, 6.0]),
        boxes=torch.tensor([[[1.0, 0.0, 3.0], [3.0, 2.0, 4.0]]]),
        surfaces=room.surfaces,
        light=room.light,
        ambient=room.ambient,
        solid=1,
    )
    eye = torch.tensor([2.0, 1.5, 1.0])
    rays = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]]).T
    distance, surface = plain_room.trace(room, eye, rays)
    assert surface.tolist() == [6 + 4, 4, 3, 3]  # the box's near face, the back wall, twice the ceiling
    torch.testing.assert_close(distance, torch.tensor([2.0, 1.0, 1.5, 3.0]), atol=1e-4, rtol=1e-4)


def test_frames_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plain_room.render_plain_room(0, frames=0)


def test_splits_share_no_seed() -> None:
    splits = [
        {s for shard in make_data.shard_seeds(name, 5000) for s in shard} for name in make_data.FIRST_SEED
    ]
    assert sum(len(split) for split in splits) == len(set().union(*splits))
    with pytest.raises(ValueError, match="another split"):
        make_data.shard_seeds("train", 1_000_001)
