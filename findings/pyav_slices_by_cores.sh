#!/usr/bin/env bash
# PyAV 18.1.0 (its wheel's libx264): the same frames, encoded by the same program with the same settings, give other
# pictures on a machine with another number of cores. PyAV sets thread_type to SLICE where FFmpeg's own default is
# frames and slices; x264 then cuts each picture into as many slices as it has threads, which are as many as the
# process has cores, and predicts nothing across their borders.
#
# What is printed: files and pictures of 20 frames of 320x512 at crf 16, by the cores that the process may use, and by
# the number of threads that is asked for in their place. Pictures differ by more than 10 of 255 (seen: up to 26 with
# one core and two); more slices make larger files. So a video that a pipeline writes on one machine is not what it
# writes on another, and a container with fewer cores is enough. Threads that take whole frames (thread_type "frame")
# give other pictures for another number too, but a number that is named does not depend on the cores.
# Exit status 0: as described; 1: no longer; 2: only one core here, so that the first half cannot be looked at.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import hashlib
import io
import os
import sys

import av
import numpy as np

HEIGHT, WIDTH, FRAMES = 320, 512, 20
cores = sorted(os.sched_getaffinity(0))
if len(cores) < 2:
    print("this process has one core", file=sys.stderr)
    sys.exit(2)
draw = np.random.default_rng(0)
blocks = draw.integers(0, 255, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
noise = draw.integers(-6, 7, (FRAMES, HEIGHT, WIDTH, 3))
pictures = (np.stack([np.roll(blocks, 2 * t, 1) for t in range(FRAMES)]) + noise).clip(0, 255).astype(np.uint8)


def encoded(**options):
    """The bytes of one mp4 of the frames. x264's cpu-independent=1 keeps another cause of other files away."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        given = {"crf": "16", "x264-params": "cpu-independent=1"} | options
        stream = container.add_stream("libx264", rate=10, options=given)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def decoded(data):
    """Its pictures."""
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def look(name, data):
    """Print a line about a file; give its pictures."""
    shown = decoded(data)
    print(f"{name:34} {len(data)} bytes, file {hashlib.sha256(data).hexdigest()[:8]},", end=" ")
    print(f"pictures {hashlib.sha256(shown.tobytes()).hexdigest()[:8]}")
    return shown


by_cores = []
for count in (1, 2):
    os.sched_setaffinity(0, cores[:count])
    by_cores.append(look(f"as it is, cores {count}", encoded()))
    assert (look("  once more", encoded()) == by_cores[-1]).all(), "not the same twice on the same cores"
far = abs(by_cores[0] - by_cores[1]).max()
print(f"pictures of one core and of two differ by up to {far} of 255")
sizes = [len(encoded(threads=str(count))) for count in (1, 4, 16)]
print("bytes with threads 1, 4, 16:", sizes)
by_threads = [look(f"thread_type frame, threads {n}", encoded(threads=str(n), thread_type="frame")) for n in (1, 4, 16)]
named = set()
for count in (1, 2, 1, 2):
    os.sched_setaffinity(0, cores[:count])
    named.add(encoded(threads="4", thread_type="frame"))
print(f"thread_type frame, threads 4, on one core and on two: {len(named)} file")
assert len(named) == 1, "a named number of threads depends on the cores"
assert far > 10, "the same pictures with one core and with two: no longer as described"
assert sizes[0] < sizes[1] <= sizes[2]
assert any((shown != by_threads[0]).any() for shown in by_threads), "frame threads: the same pictures for all numbers"
print("as described: pictures depend on the cores")
PYTHON
