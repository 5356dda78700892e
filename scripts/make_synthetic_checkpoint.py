"""Write a checkpoint of full size with random weights in the official layout. 4B takes 8.3 GB on disk.

python scripts/make_synthetic_checkpoint.py /big/disk/4b
python scripts/make_synthetic_checkpoint.py /big/disk/12b --size 12B --seed 1
"""

import argparse
import time
from pathlib import Path

from cosmos_adapter.synthetic import write_synthetic
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.transformer.spec import PRESETS


def main() -> None:
    """Write the checkpoint, then print its files and the seconds that it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="new folder")
    parser.add_argument("--size", default="4B", choices=PRESETS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.perf_counter()
    write_synthetic(args.folder, PRESETS[args.size].spec, TokenizerSpec(), seed=args.seed)
    for file in sorted(path for path in args.folder.rglob("*") if path.is_file()):
        print(f"{file.stat().st_size:>14,}  {file}")
    print(f"{time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
