"""Write the embedded default: the trained networks in bfloat16, held-out contexts for the bench, the sample clip.

    python scripts/nano/export.py                              # into vidjacobi/assets
    python scripts/nano/export.py --out out/early               # somewhere else

Prints what was written, in bytes. The model card is written by hand beside the weights.
"""

import argparse
import json
from pathlib import Path

import av
import numpy as np
import torch
import train_tokenizer
import train_transformer
from make_data import FIRST_SEED
from rooms import FPS, render_clip
from safetensors.torch import save_file
from tokens import load_tokens

from cosmos_adapter.tokenizer_files import save_tokenizer
from cosmos_adapter.tokenizer_net import TokenizerNet
from vidjacobi.shapes import Frames


def trained(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run in bfloat16. Raises ``FileNotFoundError`` if there are none."""
    path = run / "last.pt"
    if not path.exists():
        raise FileNotFoundError(f"no {path}: train first")
    state = torch.load(path, weights_only=True)["model"]
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}


def export_tokenizer(run: Path, folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors``."""
    net = TokenizerNet(train_tokenizer.SPEC).to(torch.bfloat16)
    net.load_state_dict(trained(run))
    save_tokenizer(net, folder)


def export_transformer(run: Path, folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors`` with the official ``model.`` prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": tensor for name, tensor in trained(run).items()}
    save_file(state, folder / "model.safetensors")
    config = json.dumps(train_transformer.SPEC.to_config(), indent=2) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")


def export_contexts(run: Path, path: Path) -> None:
    """Tokens of the held-out clips' first 9 frames, uint16 ``[n 2 16 20]``."""
    grid = train_transformer.SPEC.grid
    tokens = load_tokens(run, "heldout").unflatten(1, (grid.t, grid.h, grid.w))
    np.save(path, tokens[:, : train_transformer.CONTEXT_FRAMES].numpy().astype(np.uint16))


def write_video(frames: Frames, path: Path) -> None:
    """H.264 in an mp4 that browsers play, at the generator's frame rate and high quality."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=round(FPS), options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for picture in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Write everything and say how large it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/nano"))
    parser.add_argument("--out", type=Path, default=Path("vidjacobi/assets"))
    parser.add_argument("--sample-seed", type=int, default=FIRST_SEED["sample"] + 4)
    parser.add_argument("--sample-frames", type=int, default=65)
    arguments = parser.parse_args()
    export_tokenizer(arguments.runs / "tokenizer", arguments.out / "nano" / "tokenizer")
    export_transformer(arguments.runs / "transformer", arguments.out / "nano" / "transformer")
    export_contexts(arguments.runs / "transformer", arguments.out / "nano" / "held_out_contexts.npy")
    sample = render_clip(arguments.sample_seed, arguments.sample_frames)
    write_video(sample.frames, arguments.out / "sample.mp4")
    for path in sorted(arguments.out.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            print(f"{path.stat().st_size:>12,} {path}")


if __name__ == "__main__":
    main()
