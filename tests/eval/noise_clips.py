"""A small RealEstate10k folder of moving noise."""

from pathlib import Path

import numpy as np
from PIL import Image

POSE = "0.5 0.9 0.5 0.5 0.0 0.0 1 0 0 0 0 1 0 0 0 0 1 0"


def write_clip(root: Path, name: str, frames: int, seed: int) -> None:
    """Write test/NAME.txt and frames/test/NAME/*.png of 32x48 pixels."""
    stamps = [100_000 * index for index in range(frames)]
    (root / "test").mkdir(parents=True, exist_ok=True)
    lines = ["https://example.org/watch", *(f"{stamp} {POSE}" for stamp in stamps)]
    (root / "test" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    folder = root / "frames" / "test" / name
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (32, 48 + frames, 3), dtype=np.uint8)
    for index, stamp in enumerate(stamps):
        Image.fromarray(noise[:, index : index + 48]).save(folder / f"{stamp}.png")
