"""Read frames with decord in a process of its own, which its parent can kill.

decord's get_batch can hang for ever while it holds the interpreter's lock, for instance where a container promises
more frames than it has. No thread of the same process could stop it then. This file is run as a script and imports
nothing of the package, so that torch is not loaded and the script starts in about 0.2 s.

    python decord_worker.py VIDEO OUT.npz 0 1 2 ...

OUT.npz then holds `frames` (uint8 [n H W 3]), `count` (the number of frames of the file) and `seconds` [n] (when each
frame is displayed, counted from the first frame of the file).
"""

import os
import sys


def main(arguments: list[str]) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts a script's folder on the path, where modules such as "images" could hide those that others mean.
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]
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
