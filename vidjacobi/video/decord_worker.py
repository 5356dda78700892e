"""Read frames with decord in a process of its own, which its parent can kill.

decord's get_batch can hang for ever holding the interpreter's lock (a container that promises more
frames than it holds), so that no thread of the same process could stop it. This file is run as a
script and imports nothing of the package, torch least of all: it starts in about 0.2 s.

    python decord_worker.py VIDEO OUT.npz 0 1 2 ...

OUT.npz then holds `frames` uint8 [n H W 3], `count` (frames of the file), and `seconds` [n], the
display times of the frames after that of the file's first one.
"""

import os
import sys


def main(arguments: list[str]) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]  # its module names could hide others
    import decord
    import numpy as np

    video, out = arguments[:2]
    indices = [int(i) for i in arguments[2:]]
    reader = decord.VideoReader(video, num_threads=1)
    if max(indices) >= len(reader):
        sys.exit(f"decord sees {len(reader)} frames")
    starts = np.asarray(reader.get_frame_timestamp([0, *indices]))[:, 0].astype(np.float64)
    frames = reader.get_batch(indices).asnumpy()
    np.savez(out, frames=frames, count=len(reader), seconds=starts[1:] - starts[0])


if __name__ == "__main__":
    main(sys.argv[1:])
