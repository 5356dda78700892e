#!/usr/bin/env bash
# ffmpeg (imageio-ffmpeg 0.8.1), filters psnr and ssim: frames are paired by their times and not by their numbers.
#
# A rollout that was written at another rate than the clip that it continues (world models write 8 or 10 pictures a
# second, datasets 24 or 30) is compared with the wrong frames, and the number of frames that are compared is that of
# the first file; frames of the second are repeated or passed over. Nothing is printed. Files with the very same
# pictures in them, which libraries that read frames by number find equal, get a PSNR of a bad copy.
# With setpts=N on both sides (times replaced by numbers) the result is infinite, as it should be.
# Seen: 8.4 dB and SSIM 0.18 for equal pictures at 10 and 25 a second. Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q imageio-ffmpeg==0.8.1 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np

ffmpeg, folder = imageio_ffmpeg.get_ffmpeg_exe(), Path(sys.argv[1])
rng = np.random.default_rng(0)
wall = rng.integers(0, 256, (8, 24)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
frames = np.stack([wall[:, 2 * t : 2 * t + 96] for t in range(24)])  # a camera that moves along a wall
for rate in (10, 25):
    command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "96x64", "-r", str(rate), "-i", "-"]
    path = folder / f"{rate}.mkv"
    subprocess.run([*command, "-c:v", "ffv1", str(path)], input=frames.tobytes(), check=True)  # lossless
    read = subprocess.run([ffmpeg, "-v", "error", "-i", str(path), "-f", "rawvideo", "-"], capture_output=True, check=True)
    assert read.stdout == frames.tobytes(), "the file holds other pictures"


def compared(graph):
    """(what the filter says at the end, frames that it compared)."""
    inputs = ["-i", str(folder / "10.mkv"), "-i", str(folder / "25.mkv")]
    done = subprocess.run([ffmpeg, *inputs, "-lavfi", graph, "-f", "null", "-"], capture_output=True, text=True, check=True)
    score = re.search(r"(?:average|All):(\S+)", done.stderr)[1]
    return float(score), int(re.findall(r"frame=\s*(\d+)", done.stderr)[-1])


psnr, count = compared("[0][1]psnr")
ssim, _ = compared("[0][1]ssim")
numbered, _ = compared("[0]settb=1/10,setpts=N[a];[1]settb=1/10,setpts=N[b];[a][b]psnr")
print(f"equal pictures, 10 and 25 a second: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, {count} frames compared")
print(f"by number: PSNR {numbered}")
assert psnr < 25 and ssim < 0.9 and numbered == float("inf")
print("as described: frames were paired by time")
PYTHON
