"""Write a small dataset of rendered clips in RealEstate10k's layout, with their true cameras.

With it everybody can run the evaluation offline. The seeds are the upper half of those that nano's data keeps for
held-out clips (scripts/nano/render/make_data.py), with the same mixture of kinds, so no bundled model was trained or
validated on them. Pictures are PNG by default, because a metric should not see the losses of a video codec.

    python scripts/make_realestate10k.py --out runs/rooms --clips 64 --frames 33   # test/ID.txt, frames/test/ID/*.png
    python scripts/make_realestate10k.py --out runs/rooms_mp4 --layout mp4         # test/ID.txt, videos/test/ID.mp4
    python scripts/make_realestate10k.py --out runs/rooms_pt --layout chunks       # pixelSplat's test/000000.torch
    python scripts/make_realestate10k.py --out runs/houses --kinds house           # tours of houses alone
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python knows only this folder
from scripts.nano.render.make_data import FIRST_SEED, TRAIN_ONLY, split_mixture
from scripts.nano.render.plain_room import FPS
from scripts.nano.render.scenes import KINDS, RenderedClip, draw_kind, render_clip
from vidjacobi.datasets.cameras import Cameras, write_cameras
from vidjacobi.datasets.pixelsplat import record_of
from vidjacobi.video.clips import write_video

SEEDS = range(FIRST_SEED["heldout"] + 500_000, FIRST_SEED["heldout"] + 1_000_000)


def cameras_of(clip: RenderedClip) -> Cameras:
    """The true cameras of a clip: world to camera, and intrinsics in units of the picture's sides."""
    height, width = clip.frames.shape[1:3]
    across, down = clip.intrinsics[0, 0] / width, clip.intrinsics[1, 1] / height
    stamps = (torch.arange(len(clip.frames)) * (1e6 / FPS)).round().long()
    lens = torch.tensor([across, down, 0.5, 0.5], dtype=torch.float64)
    # the renderer has camera-to-world matrices
    poses = torch.linalg.inv(clip.poses.double())[:, :3]
    return Cameras(f"rendered {clip.kind} {clip.seed}", stamps, lens.repeat(len(stamps), 1), poses)


def write_images(folder: Path, clip: RenderedClip, cameras: Cameras) -> None:
    """Write every frame as TIMESTAMP.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for stamp, picture in zip(cameras.timestamps.tolist(), clip.frames.numpy(), strict=True):
        Image.fromarray(picture).save(folder / f"{stamp}.png")


def main() -> None:
    """Render and write the clips one by one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--layout", choices=("images", "mp4", "chunks"), default="images")
    parser.add_argument("--first-seed", type=int, default=SEEDS.start)
    held_out = [kind for kind in KINDS if kind != TRAIN_ONLY]
    parser.add_argument("--kinds", nargs="+", choices=held_out, default=held_out)
    options = parser.parse_args()
    mixture = split_mixture("heldout", options.kinds)
    seeds = range(options.first_seed, options.first_seed + options.clips)
    if options.clips < 1 or options.frames < 1 or seeds[0] not in SEEDS or seeds[-1] not in SEEDS:
        parser.error(f"at least one clip and frame, and seeds of {SEEDS.start} to {SEEDS[-1]}, are needed")
    for folder in ("test", "videos/test") if options.layout == "mp4" else ("test",):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    records = []
    for seed in tqdm(seeds, unit="clip"):
        clip = render_clip(seed, options.frames, kind=draw_kind(seed, mixture))
        name = sha256(f"room {seed}".encode()).hexdigest()[:16]
        cameras = cameras_of(clip)
        if options.layout == "chunks":
            records.append(record_of(name, clip.frames, cameras))
            continue
        if options.layout == "images":
            write_images(options.out / "frames" / "test" / name, clip, cameras)
        else:
            write_video(options.out / "videos" / "test" / f"{name}.mp4", clip.frames, FPS)
        write_cameras(options.out / "test" / f"{name}.txt", cameras)
    if records:
        torch.save(records, options.out / "test" / "000000.torch")
        index = {str(record["key"]): "000000.torch" for record in records}
        (options.out / "test" / "index.json").write_text(json.dumps(index))
    print(f"{len(seeds)} clips of {options.frames} frames: {options.out}")


if __name__ == "__main__":
    main()
