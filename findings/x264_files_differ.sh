#!/usr/bin/env bash
# PyAV 18.1.0 (its wheel's libx264) on an x86 processor with AVX-512: the same frames, encoded again in the same
# process with the same settings and one thread, do not always give the same file.
#
# Printed: how often each file came in 300 encodings of 20 frames of 224x128, crf=16, between which memory is used for
# other things (the counts are others each time; seen: 11 to 13 different files, 177 to 267 of 300 alike), and how far
# apart pictures decoded from them are (seen: up to 16 of 255). So a clip that a test or a pipeline writes twice may be
# another clip once it is read, and a hash of a video does not tell whether its frames were the same.
# One file only, in as many encodings: x264's mbtree switched off, its functions limited to AVX2, or its option
# cpu-independent=1, which is what to use. The line of seconds says what each costs.
# Exit status 0: as described; 1: no longer; 2: this processor has no AVX-512, and nothing was looked at.
set -euo pipefail
if ! lscpu | grep avx512f >/dev/null; then
    echo "this processor has no AVX-512" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import hashlib
import io
import time
from collections import Counter

import av
import numpy as np

HEIGHT, WIDTH, FRAMES, TIMES = 128, 224, 20, 300
draw = np.random.default_rng(0)
blocks = draw.integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
pictures = [np.ascontiguousarray(np.roll(blocks, 2 * t, 1)) for t in range(FRAMES)]
planes = [av.VideoFrame.from_ndarray(p, format="rgb24").reformat(format="yuv420p").to_ndarray() for p in pictures]


def encoded(options):
    """The bytes of one mp4 of the frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "16", "threads": "1"} | options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, plane in enumerate(planes):
            frame = av.VideoFrame.from_ndarray(plane, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def decoded(data):
    """Its pictures."""
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def files(options, times=TIMES):
    """The different files of that many encodings, the most frequent first."""
    seen, counts, seconds = {}, Counter(), 0.0
    for _ in range(times):
        used = [np.full(draw.integers(1000, 60000), draw.integers(0, 255), np.uint8) for _ in range(draw.integers(0, 9))]
        del used[draw.integers(0, 2) * len(used) :]
        start = time.perf_counter()
        data = encoded(options)
        seconds += time.perf_counter() - start
        key = hashlib.sha256(data).hexdigest()[:8]
        seen[key] = data
        counts[key] += 1
    print(options or "as it is", dict(counts), f"{1e3 * seconds / times:.1f} ms, {len(data)} bytes")
    return [seen[key] for key, _ in counts.most_common()]


plain = files({})
far = max(abs(decoded(plain[0]) - decoded(other)).max() for other in plain[1:]) if len(plain) > 1 else 0
print(f"as it is: {len(plain)} different files, pictures differ by up to {far} of 255")
for remedy in ("mbtree=0", "asm=avx2", "cpu-independent=1"):
    assert len(files({"x264-params": remedy})) == 1
assert len(plain) > 1, "the same file every time: no longer as described"
print("as described: the same frames give different files")
PYTHON
