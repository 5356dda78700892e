"""The ``vidjacobi`` command: words to arguments, errors to messages, nothing else."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vidjacobi.cli.options import new_parser
from vidjacobi.errors import VidjacobiError
from vidjacobi.registry import suggest

Command = Callable[[Namespace, dict[str, Any]], dict[str, Any]]

OVERVIEW = """usage: vidjacobi COMMAND ...

Fast rollouts of autoregressive video world models: fewer passes, the same distribution.

  rollout    predict what happens next in a clip: an mp4, a contact sheet and the numbers
  bench      passes, seconds and ratios of several decoders and windows, in one run
  curve      pass times and tokens per pass by window, stored for the adaptive decoder
  plan       predicted seconds of a pass and of a rollout on a GPU, its best window and batch
  doctor     what is installed here, and whether a rollout fits in memory
  batch      many futures of all episodes of a dataset, over several GPUs and machines, resumable
  report     manifest.parquet and report.html of a batch
  export     a batch's futures as a LeRobot dataset
  eval       is it as good as AR, and how much faster: FVD and more on clips of a dataset, or of two folders
  decoders   list the decoders, what each one proves and where it is from
  convert    an official checkpoint to safetensors that transformers' from_pretrained reads

`vidjacobi COMMAND --help` says more. The last line on standard output is one JSON object.
"""

ROLLOUT = """Predict the frames behind a context.

CLIP is a video file, an image (context 1, 25 fps) or a folder of frames; none: the bundled sample.
Each clip gets a folder OUT/NAME with rollout.mp4 (the context as the model saw it, then the prediction),
sheet.png and rollout.json; with --samples K the folders OUT/NAME/sample-0 ... hold one future each.
"""

BENCH = """Decode the same contexts with several decoders and windows, alternating, beside ar.

OUT gets bench.csv (every decode, as it goes), bench.json, bench.md (tables, bars), nfe.png, and map_DECODER.png
of the first clip. The same command in the same OUT goes on where it stopped; other clips' numbers, seeds, decoders,
windows or models may be asked for (what is there is kept), anything else needs another OUT or --overwrite.
"""

CURVE = """Measure a pass at several windows: median seconds and mean tokens decided, as YAML.

The adaptive decoder chooses its window by such a file, never by the clock, so its tokens and passes can be
reproduced anywhere. A rollout's rollout.json records the numbers that it used.
"""

CURVE_EXAMPLES = """examples:
  vidjacobi curve --out mine.yaml
  vidjacobi rollout --decoder adaptive decoder.lanes.curve=mine.yaml clip.mp4
"""

EXAMPLES = """examples:
  vidjacobi rollout
  vidjacobi rollout --context 9 --frames 24 --seed 7 --stream clip.mp4
  vidjacobi rollout photo.jpg --frames 32 --decoder gs_sjd --window 128
  vidjacobi rollout clip.mp4 --samples 4 --out futures decoder.draft.keep=64
  vidjacobi rollout clip.mp4 --config cosmos4b        (fetches the 4B checkpoint; needs a GPU to be fast)

Any setting may also be given as key=value; decoder.KEY=VALUE changes the decoder's own.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a bad request or input, 130 when interrupted.

    ``batch`` has more: 1 where something failed, 143 when it was terminated.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in {"-h", "--help"}:
        print(OVERVIEW, end="")
        return 0
    if words[0] == "--version":
        from vidjacobi.runtime import versions

        print(versions()["vidjacobi"])
        return 0
    try:
        return dispatch(words[0], words[1:])
    except VidjacobiError as error:
        print(f"vidjacobi: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `vidjacobi ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("vidjacobi: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def dispatch(name: str, words: list[str]) -> int:
    """Parse a command's words and run it."""
    parsers = {
        "rollout": rollout_parser,
        "bench": bench_parser,
        "curve": curve_parser,
        "decoders": decoders_parser,
        "convert": convert_parser,
    }
    if name == "eval":
        return dispatch_eval(words)
    if name in ("batch", "report", "export"):
        return dispatch_batch(name, words)
    if name == "bench" and words[:1] == ["overhead"]:
        from vidjacobi.estimate import overhead

        print(json.dumps(overhead.run(words[1:])), flush=True)
        return 0
    if name in ("plan", "doctor"):
        from vidjacobi.estimate import command

        print(json.dumps(command.run(name, words), ensure_ascii=False), flush=True)
        return 0
    if name not in parsers:
        known = [*parsers, "plan", "doctor", "eval", "batch", "report", "export"]
        raise VidjacobiError(f"unknown command {name!r}{suggest(name, known)}. There are: {', '.join(known)}")
    parser = parsers[name]()
    args = parser.parse_intermixed_args(words)
    from vidjacobi.cli import commands

    run: Command = getattr(commands, f"run_{name}")
    print(commands.last_line(run(args, vars(args))), flush=True)
    return 0


def dispatch_eval(words: list[str]) -> int:
    """``eval`` has words of its own."""
    from vidjacobi.eval import command

    result = command.run(words)
    if result is not None:
        from vidjacobi.cli.commands import last_line

        print(last_line(result), flush=True)
    return 0


def dispatch_batch(name: str, words: list[str]) -> int:
    """These have exit statuses of their own."""
    from vidjacobi.batch import command

    commands = {"batch": command.run_batch, "report": command.run_report, "export": command.run_export}
    result, status = commands[name](words)
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return status


def rollout_parser() -> ArgumentParser:
    """Arguments of ``rollout``; a setting that is not given keeps its configuration's value."""
    parser = new_parser("rollout", ROLLOUT, EXAMPLES)
    add = parser.add_argument
    add(
        "clips",
        nargs="*",
        metavar="CLIP",
        help="video, image or folder of frames; key=value settings may follow",
    )
    what = parser.add_argument_group("what to predict")
    what.add_argument("--context", type=int, metavar="N", help="frames given: 1 + 8k (9; 1 for an image)")
    what.add_argument("--frames", type=int, metavar="N", help="frames to predict, any number (24)")
    what.add_argument("--start", type=int, metavar="N", help="first context frame (0)")
    what.add_argument(
        "--context-from", choices=("first", "last"), help="context from --start on (first), or the file's end"
    )
    what.add_argument("--samples", type=int, metavar="K", help="futures per clip (1)")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--config", default="default", help="settings to start from: default, cosmos4b or a YAML path"
    )
    how.add_argument(
        "--model",
        metavar="NAME",
        help="nano, micro, a checkpoint folder, or a Hugging Face repository (nano)",
    )
    how.add_argument(
        "--tokenizer", metavar="NAME", help="video tokenizer's folder or repository, if not beside it"
    )
    switch = partial(how.add_argument, action="store_true", default=None)
    switch(
        "--run-torchscript",
        help="run the tokenizer's .jit files as they are: they are programs, only for files you trust",
    )
    how.add_argument("--decoder", metavar="NAME", help="see `vidjacobi decoders`, or a YAML path (pathwise)")
    how.add_argument(
        "--window", type=int, metavar="N", help="positions evaluated per pass (the decoder's own)"
    )
    how.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same frames (0)")
    how.add_argument("--temperature", type=float, metavar="T", help=">= 0; 0 is greedy (1)")
    how.add_argument("--top-p", type=float, metavar="P", help="nucleus mass in (0, 1] (0.8)")
    how.add_argument("--top-k", type=int, metavar="K", help="likeliest tokens kept (all)")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto (auto)")
    how.add_argument("--dtype", metavar="NAME", help="bfloat16, float32, float64 or auto (auto)")
    switch("--offload", help="less memory: model and tokenizer take turns on the GPU")
    how.add_argument(
        "--compile", metavar="MODE", help="off, default, reduce-overhead: CUDA graphs, untested (off)"
    )
    how.add_argument(
        "--no-memory-check",
        dest="memory_check",
        action="store_false",
        default=None,
        help="run even if it is predicted not to fit in memory",
    )
    out = parser.add_argument_group("output")
    out.add_argument("--out", default="out", metavar="DIR", help="folder for the results (out)")
    out.add_argument("--overwrite", action="store_true", help="replace earlier rollouts of the same name")
    out.add_argument(
        "--stream",
        action="store_true",
        help="write rollout.mp4 as frames are decided: it plays while it grows, and stays when interrupted",
    )
    out.add_argument("--tokens", action="store_true", help="also write tokens.npy, the latent grid [t h w]")
    out.add_argument(
        "--trace", action="store_true", help="also write trace.npz, pass by pass and token by token"
    )
    return parser


def bench_parser() -> ArgumentParser:
    """Arguments of ``bench``."""
    parser = new_parser("bench", BENCH)
    add = parser.add_argument
    add(
        "clip",
        nargs="*",
        metavar="CLIP",
        help="videos to take 9-frame contexts from; none: held-out clips that ship with the model",
    )
    add("--config", default="readme", help="quick, readme, nano, bars, micro or a YAML path (readme)")
    add("--models", nargs="+", metavar="NAME", help="nano, micro, checkpoint folders, repositories")
    add("--tokenizer", metavar="NAME", help="video tokenizer's folder or repository, if not beside it")
    add("--clips", type=int, metavar="N", help="how many of the bundled held-out contexts")
    add("--decoders", nargs="+", metavar="NAME", help="decoders to compare with ar")
    add("--windows", nargs="+", type=int, metavar="N", help="window sizes")
    add("--seeds", nargs="+", type=int, metavar="S", help="every clip is decoded with each of them")
    add("--frames", type=int, metavar="N", help="frames behind the 9 of the context")
    add("--batch", type=int, metavar="N", help="clips decoded together")
    add("--workers", type=int, metavar="N", help="processes; seconds mean most with one")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    add("--dtype", metavar="NAME", help="bfloat16, float32, float64 or auto")
    add("--compile", metavar="MODE", help="off, default, reduce-overhead: CUDA graphs, untested (off)")
    add("--out", default="out/bench", metavar="DIR", help="folder for the results (out/bench)")
    add(
        "--again",
        nargs="+",
        default=[],
        metavar="NAME",
        help="decoders whose decodes are dropped and made anew",
    )
    add("--overwrite", action="store_true", help="begin anew in a folder that holds a bench")
    return parser


def curve_parser() -> ArgumentParser:
    """Arguments of ``curve``."""
    parser = new_parser("curve", CURVE, CURVE_EXAMPLES)
    add = parser.add_argument
    add("clips", nargs="*", metavar="CLIP", help="videos with contexts; none: the model's held-out ones")
    add(
        "--model",
        default="nano",
        metavar="NAME",
        help="a shipped model, a checkpoint folder or repository (nano)",
    )
    add("--tokenizer", metavar="NAME", help="video tokenizer's folder or repository, if not beside it")
    add("--decoder", default="pathwise", metavar="NAME", help="whose passes are measured (pathwise)")
    add("--windows", nargs="+", type=int, default=[16, 32, 64, 128, 256], metavar="N", help="window sizes")
    add("--count", type=int, default=4, metavar="N", help="how many held-out contexts (4)")
    add("--frames", type=int, default=24, metavar="N", help="frames to predict (24)")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    add("--dtype", default="auto", metavar="NAME", help="bfloat16, float32, float64 or auto")
    add("--out", default="curve.yaml", metavar="FILE", help="file to write (curve.yaml)")
    return parser


def decoders_parser() -> ArgumentParser:
    """Arguments of ``decoders``: none."""
    return new_parser("decoders", "List the decoders, what each one proves, and where it is from.")


def convert_parser() -> ArgumentParser:
    """Arguments of ``convert``."""
    parser = new_parser(
        "convert", "Write an official checkpoint as safetensors + config.json for from_pretrained."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder with model.pt, or a weight file")
    parser.add_argument("out", metavar="OUT", help="new folder")
    return parser
