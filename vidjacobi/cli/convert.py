"""``vidjacobi convert``: an official checkpoint to a folder that ``from_pretrained`` reads."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = "Write an official checkpoint as safetensors + config.json for from_pretrained."


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("convert", TEXT)
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="folder with model.pt, or a weight file")
    made.add_argument("out", type=options.place, metavar="OUT", help="new folder")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Convert; the new folder. Raises BadCheckpoint, BadOutput."""
    from cosmos_adapter.transformer.convert import convert

    out = convert(Path(args.checkpoint), Path(args.out))
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    return {"folder": str(out)}
