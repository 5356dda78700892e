"""``vidjacobi rollout``: predict futures of clips, one folder each."""

import gc
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Predict the frames that follow a context.

CLIP is a video file, an image (context 1, 25 fps) or a folder of frames; none: the bundled sample.
Each clip gets a folder OUT/NAME with rollout.mp4 to watch (the prediction beside what really followed, where the
clip has it), plain.mp4 to measure (the context as the model saw it, then the prediction, nothing else), sheet.png and
rollout.json; with --samples K the folders OUT/NAME/sample-0 ... hold one future each.
"""

EXAMPLES = """examples:
  vidjacobi rollout
  vidjacobi rollout --context 9 --frames 24 --seed 7 --stream clip.mp4
  vidjacobi rollout photo.jpg --frames 32 --decoder gs_sjd --window 128
  vidjacobi rollout clip.mp4 --samples 4 --out futures decoder.draft.keep=64
  vidjacobi rollout clip.mp4 --config cosmos4b        (fetches the 4B checkpoint; needs a GPU to be fast)
  vidjacobi rollout clip.mp4 --model mineworld:300M_16f.ckpt --actions clip.jsonl

Any setting may also be given as key=value; decoder.KEY=VALUE changes the decoder's own.
"""


def parser() -> ArgumentParser:
    """Arguments; a setting that is not given keeps its configuration's value."""
    made = options.new_parser("rollout", TEXT, EXAMPLES)
    what = "video, image or folder of frames; key=value settings may follow"
    made.add_argument("clips", nargs="*", metavar="CLIP", help=what)
    _add_clip(made)
    _add_how(made)
    _add_output(made)
    return made


def _add_clip(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("what to predict").add_argument
    options.add_context(add, image=True)
    options.add_frames(add, chunks=True)
    add("--start", type=options.whole, metavar="N", help="first context frame (0)")
    ends = "context from --start on (first), or the last frames of the file"
    add("--context-from", choices=("first", "last"), help=ends)
    add("--samples", type=options.whole, metavar="K", help="futures per clip (1)")
    what = "FILE.npy, FILE.parquet:COLUMN or FILE.jsonl; row i leads from frame i to the next (MineWorld, iVideoGPT)"
    add("--actions", metavar="FILE", help=what)


def _add_how(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("how").add_argument
    add("--config", default="default", help="settings to start from: default, cosmos4b or a YAML path")
    options.add_model(add)
    options.add_torchscript(add)
    options.add_decoder(add)
    options.add_sampling(add)
    options.add_top_k(add)
    options.add_device(add)
    options.add_dtype(add)
    options.add_offload(add)
    options.add_compile(add)
    options.add_memory_check(add)
    options.add_reader(add)


def _add_output(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    options.add_out(add, "out")
    switch = partial(add, action="store_true")
    switch("--overwrite", help="replace earlier rollouts of the same name")
    grows = "write rollout.mp4 as frames are decided: it plays while it grows, and stays when interrupted"
    switch("--stream", help=grows)
    add("--scale", type=options.whole, metavar="N", help="enlarge rollout.mp4 N times (until it is 320 wide)")
    add("--resampling", default="lanczos", help="how it is enlarged: lanczos or nearest (lanczos)")
    switch("--html", help="also write rollout.html: all futures beside the truth, in step, and the numbers")
    switch("--tokens", help="also write tokens.npy, the latent grid [t h w]")
    switch("--trace", help="also write trace.npz, pass by pass and token by token")
    switch("--quiet", help="print the last line (JSON) and errors only")


@contextmanager
def _without_collections() -> Iterator[None]:
    """Imports inside of it are not looked through for garbage, neither now nor later.

    Torch makes 300,000 objects that stay; to look through them takes 0.1 s meanwhile, and as long each time later.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def run(args: Namespace) -> dict[str, Any]:
    """Everything that can be checked is checked before the first clip is rolled out. Raises VidjacobiError."""
    from vidjacobi.video.timed_reader import shared

    shared().start()  # so that it gets ready while torch is loaded
    with _without_collections():
        from vidjacobi.cli.rollout_clips import Output, roll_out
        from vidjacobi.config.rollout import as_authors_sample, load_rollout
        from vidjacobi.rollouts.files import Extras
        from vidjacobi.video.side_by_side import View

    pairs, clips = options.split_settings(args.clips)
    config, decoder = load_rollout(args.config, vars(args), pairs)
    config = as_authors_sample(config, args.config, vars(args), pairs)
    extras = Extras(args.tokens, args.trace, args.html, View(args.scale, args.resampling))
    output = Output(Path(args.out), args.overwrite, args.stream, extras, args.quiet)
    return {"outputs": roll_out(config, decoder, [Path(clip) for clip in clips], output)}
