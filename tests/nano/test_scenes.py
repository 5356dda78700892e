"""All kinds of rendered clips: deterministic, true poses, plausible pixels, things that move when touched."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.nano.judge.clip_statistics import block_psnr
from scripts.nano.render import house, make_data, photos, rasteriser, robot_arm, scenes
from scripts.nano.render.small_objects import TableObject
from scripts.nano.render.textured_quads import Mesh, Textures
from vidjacobi.errors import BadInput, InvalidArgument

SMALL = (32, 40)
KINDS = ("house", "tabletop", "photo", "plain_room")
RENDERED = ("house", "tabletop")


def needs_photos(kind: str) -> None:
    missing = [name for name in ("skimage", "sklearn") if find_spec(name) is None]
    if kind == "photo" and missing:
        pytest.skip(f"the photographs' packages are not installed: {missing}")


def test_every_kind_is_tested_and_has_a_share() -> None:
    assert set(scenes.KINDS) == set(KINDS) == set(scenes.MIXTURE)
    assert sum(scenes.MIXTURE.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_clip_whatever_the_length(kind: str) -> None:
    needs_photos(kind)
    torch.manual_seed(1)
    short = scenes.render_clip(3, 3, SMALL, kind)
    torch.manual_seed(2)
    np.random.seed(2)
    long, other = (scenes.render_clip(seed, 7, SMALL, kind) for seed in (3, 4))
    assert short.frames.shape == (3, *SMALL, 3)
    assert short.frames.dtype == torch.uint8
    assert short.kind == kind
    assert torch.equal(long.frames[:3], short.frames)
    assert torch.equal(long.poses[:3], short.poses)
    assert not torch.equal(long.frames, other.frames)


@pytest.mark.parametrize("kind", KINDS)
def test_poses_are_rotations_and_move_smoothly(kind: str) -> None:
    needs_photos(kind)
    for seed in range(2):
        clip = scenes.render_clip(seed, 25, (8, 10), kind)
        turns, places = clip.poses[:, :3, :3], clip.poses[:, :3, 3]
        torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(25, 3, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.linalg.det(turns), torch.ones(25), atol=1e-5, rtol=0)
        assert (places.diff(dim=0).norm(dim=1) < 0.2).all()  # 5 m/s
        assert (turns.diff(dim=0).flatten(1).norm(dim=1) < 0.25).all()
        assert clip.intrinsics[0, 2] == 5
        assert clip.intrinsics[1, 2] == 4
        assert clip.intrinsics[0, 0] == clip.intrinsics[1, 1] > 4


@pytest.mark.parametrize("seed", range(8))
def test_camera_paths_stay_in_the_rooms_and_out_of_the_furniture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = house.build_house(rng)
    path = house.sample_house_path(home.rooms, home.door, home.solids, rng)
    places = path.poses(2000, fps=25.0)[:, :3, 3].numpy()
    low, high = home.rooms[:, None, 0] + 0.25, home.rooms[:, None, 1] - 0.25
    inside = ((places > low) & (places < high)).all(2).any(0)
    if home.door is not None:
        inside |= ((places > home.door[0] - 0.03) & (places < home.door[1] + 0.03)).all(1)
    assert inside.all()
    near = (places[:, None] > home.solids[:, 0] - 0.2) & (places[:, None] < home.solids[:, 1] + 0.2)
    assert not near.all(2).any()


def test_every_motion_through_a_house_occurs() -> None:
    home = house.build_house(np.random.default_rng(2))
    assert home.door is not None
    rng = np.random.default_rng(0)
    found = [house.sample_house_path(home.rooms, home.door, home.solids, rng) for _ in range(60)]
    assert {path.motion for path in found} == {"dolly", "pan", "orbit", "stop_and_go", "walk"}


@pytest.mark.parametrize("motion", ["dolly", "pan", "orbit", "stop_and_go"])
def test_every_motion_has_room_in_a_corridor(motion: str) -> None:
    proposals, rng = house.PROPOSALS, np.random.default_rng(0)
    corridor = np.array([[0.0, 0.0, 0.0], [1.25, 2.5, 4.0]])
    for _ in range(20):
        assert np.isfinite(proposals[motion](corridor, corridor[None], None, rng)).all()


def test_an_orbit_finds_its_middle_in_rooms_of_any_width() -> None:
    """Two ways to compute the middle of a narrow room may differ in the last digit: once in 4,000 clips."""
    rng = np.random.default_rng(0)
    for width in rng.uniform(1.0, 2.0, 500):
        low = rng.uniform(0, 3, 3)
        room = np.stack([low, low + np.array([width, 2.4, 5.0])])
        assert np.isfinite(house.orbit(room, [room], None, rng)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_look_like_pictures(kind: str) -> None:
    needs_photos(kind)
    grey = (
        torch.stack([scenes.render_clip(seed, 1, (64, 80), kind).frames for seed in range(6)])
        .float()
        .mean(-1)
    )
    assert 60 < grey.mean() < 190
    assert 15 < grey.flatten(1).std(1).mean() < 90
    assert grey.diff(dim=-1).abs().mean() > 1.5


def test_a_point_of_a_wall_is_where_the_poses_say() -> None:
    """Pixels of one frame are lifted by their depth and projected into a later frame: same depth, same colour."""
    rng = np.random.default_rng(5)
    home = house.build_house(rng)
    path = house.sample_house_path(home.rooms, home.door, home.solids, rng)
    lens = rasteriser.Lens((96, 120), 0.7)
    poses = path.poses(12, 25.0).double().numpy()[[0, 11]]
    assert np.abs(poses[0] - poses[1]).max() > 0.05
    matrix = rasteriser.intrinsics(lens).double().numpy()
    depths = [rasteriser.depth(home.scene, pose, lens) for pose in poses]
    pictures = [rasteriser.render(home.scene, pose, lens).numpy().astype(float) for pose in poses]
    rows, columns = (grid.ravel() for grid in np.mgrid[8:88:5, 8:112:5])
    rays = np.linalg.inv(matrix) @ np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    world = poses[0, :3, :3] @ (rays * depths[0][rows, columns]) + poses[0, :3, 3:]
    seen = poses[1, :3, :3].T @ (world - poses[1, :3, 3:])
    x, y, _ = matrix @ seen / seen[2]
    kept = (x > 1) & (x < 118) & (y > 1) & (y < 94) & (seen[2] > 0)
    rows, columns, x, y, far = rows[kept], columns[kept], x[kept], y[kept], seen[2, kept]
    there = depths[1][y.astype(int), x.astype(int)]
    agree = np.abs(there / far - 1) < 0.04
    assert len(rows) > 100
    assert agree.mean() > 0.85  # the others are hidden in one of the frames, or lie at an edge
    colours = pictures[0][rows, columns] - pictures[1][y.astype(int), x.astype(int)]
    assert np.median(np.abs(colours[agree])) < 8


def test_a_photograph_hangs_in_the_plane() -> None:
    """Pixels of the last frame, fetched by way of the plane z = 0, give the first frame."""
    needs_photos("photo")
    clip = scenes.render_clip(1, 25, (96, 120), "photo")
    first, last = clip.poses[0].double(), clip.poses[24].double()
    matrix = clip.intrinsics.double()
    rows, columns = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(20, 76), torch.arange(20, 100), indexing="ij")
    )
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones(len(rows))]).double()
    rays = first[:3, :3] @ torch.linalg.inv(matrix) @ pixels
    world = first[:3, 3:] - rays * first[2, 3] / rays[2]
    x, y, w = matrix @ last[:3, :3].T @ (world - last[:3, 3:])
    grid = torch.stack([x / w / 60 - 1, y / w / 48 - 1], -1)[None, None].float()
    kept = (grid[0, 0].abs() < 0.98).all(-1)  # seen in both frames
    assert kept.float().mean() > 0.3
    source = clip.frames[24].permute(2, 0, 1)[None].float()
    fetched = torch.nn.functional.grid_sample(source, grid, align_corners=False)[0, :, 0].T
    here, unmoved = (clip.frames[i][rows, columns].float() for i in (0, 24))
    error = (here - fetched)[kept].abs().mean()
    assert error < 0.25 * (here - unmoved)[kept].abs().mean()


def test_objects_move_only_when_touched_and_stay_apart() -> None:
    mesh = Mesh()
    kinds = [
        TableObject(mesh, 0.04, 0.08, True),
        TableObject(mesh, 0.08, 0.05, False),
        TableObject(mesh, 0.03, 0.1, True),
    ]
    workspace = robot_arm.Workspace(np.array([-0.34, -0.2]), np.array([0.34, 0.26]))
    rng = np.random.default_rng(0)
    places = robot_arm.scatter(kinds, workspace, rng)
    process = robot_arm.simulate_table(kinds, places, workspace, rng, 25.0)
    before, moved = next(process), 0
    for _ in range(1500):
        after = next(process)
        step = np.abs(after.objects - before.objects).max(1)
        reach = np.linalg.norm(after.objects[:, :3] - after.tip, axis=1)
        far = reach > 0.35
        assert (step[far] == 0).all()
        assert np.linalg.norm(after.tip - before.tip) < 0.12
        flat = after.objects[:, [0, 2]]
        assert ((flat >= workspace.low) & (flat <= workspace.high)).all()
        moved += bool(step.any())
        before = after
    assert moved > 100


def test_the_gripper_is_where_it_is_told() -> None:
    body = robot_arm.sample_arm(np.random.default_rng(0))
    for tip in ([0.3, 0.02, -0.15], [-0.3, 0.2, 0.2], [0.0, 0.1, 0.0]):
        parts = robot_arm.pose_arm(body, np.array(tip), 0.03, 0.4)
        elbow, wrist = parts[robot_arm.FORE, :3, 3], parts[robot_arm.HAND, :3, 3]
        assert np.linalg.norm(elbow - parts[robot_arm.UPPER, :3, 3]) == pytest.approx(body.upper)
        assert np.linalg.norm(wrist - elbow) == pytest.approx(body.fore, rel=1e-3)
        assert np.allclose((parts[robot_arm.LEFT, :3, 3] + parts[robot_arm.RIGHT, :3, 3]) / 2, tip)


@pytest.mark.parametrize("kind", RENDERED)
def test_nothing_is_seen_through_the_walls(kind: str) -> None:
    """Black holes would show gaps between quads: pixels of exactly 0 in all channels are rare."""
    frames = torch.cat([scenes.render_clip(seed, 2, (64, 80), kind, softness=0).frames for seed in range(5)])
    assert ((frames == 0).all(-1).float().mean()) < 0.02


@pytest.mark.parametrize("kind", RENDERED)
def test_softness_takes_detail_away_and_nothing_else(kind: str) -> None:
    """Blocks are nearer to their means the softer; colours of the whole, poses and other kinds stay."""
    hard, half, soft = (
        [scenes.render_clip(seed, 8, (64, 80), kind, softness=s) for seed in range(4)] for s in (0, 0.5, 1)
    )
    found = [sum(float(block_psnr(clip.frames)) for clip in clips) / 4 for clips in (hard, half, soft)]
    assert found[1] > found[0] + 1
    assert found[2] > found[1] + 1
    for one, other in zip(hard, soft, strict=True):
        assert torch.equal(one.poses, other.poses)
        means = [clip.frames.float().mean((0, 1, 2)) for clip in (one, other)]
        assert (means[0] - means[1]).abs().max() < 30
    plain = [scenes.render_clip(0, 2, SMALL, "plain_room", softness=s).frames for s in (0, 1)]
    assert torch.equal(*plain)


def test_bad_requests_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="at least 1"):
        scenes.render_clip(0, 0)
    with pytest.raises(InvalidArgument, match="did you mean 'house'"):
        scenes.render_clip(0, 1, SMALL, "hous")
    with pytest.raises(InvalidArgument, match="between 0 and 1"):
        scenes.render_clip(0, 1, SMALL, "house", softness=1.5)
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    photos.load_photo.cache_clear()  # it may have been read by another test
    with pytest.raises(BadInput, match="pip install scikit-image"):
        photos.load_photo(0)


def test_a_folder_holds_clips_of_one_recipe(tmp_path: Path) -> None:
    assert "photo" not in make_data.split_mixture("heldout", list(make_data.MIXTURE))
    assert make_data.split_mixture("train", ["photo"]) == make_data.split_mixture("heldout", ["photo"])
    make_data.claim_folder(tmp_path / "a", {"house": 1.0})
    make_data.claim_folder(tmp_path / "a", {"house": 1.0})
    with pytest.raises(BadInput, match="another recipe"):
        make_data.claim_folder(tmp_path / "a", {"photo": 1.0})
    (tmp_path / "00000000.npy").touch()
    with pytest.raises(BadInput, match="unknown kinds"):
        make_data.claim_folder(tmp_path, {"house": 1.0})


def test_no_texture_may_come_after_the_atlas() -> None:
    textures = Textures()
    assert textures.plain((0.1, 0.2, 0.3)) == 0
    assert textures.atlas.size.tolist() == [[8, 8]]
    with pytest.raises(AssertionError, match="the atlas is made"):
        textures.plain((0.1, 0.2, 0.3))
