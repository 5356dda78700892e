"""``vidjacobi image``: pictures of prompts or classes."""

import os
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Decode pictures of prompts or classes with a model that predicts visual tokens one by one.

OUT gets pictures/NAME.png with NAME.json beside each, sheet.png with the first of them all (evenly chosen where there
are many), and image.json: settings, weights, and of every picture its prompt, passes (NFE), acceptance lengths,
guarantee, seconds and hash. A model whose pixels cannot be made here writes its codes as NAME.npy, and says so.

Without --guidance, --temperature, --top-p and --top-k a picture is sampled as the model's authors do it:
`vidjacobi models` lists the numbers, and what each family needs beside its weights. NAME:PATH names a family and a
file or folder, or a repository of the hub, which is fetched because you named it.

The same command resumes where it was stopped or killed. What a picture is depends on nothing but the model, its
prompt (or id), the sample's number, the seed, the decoder and its numbers: not on rows, processes or shards.
"""

EXAMPLES = """examples:
  vidjacobi image --label kitchen --samples 4
  vidjacobi image "A red barn in snow." "A lighthouse." --model janus:Janus-Pro-1B
  vidjacobi image "A red barn in snow." --model emu3:Emu3-Gen-hf --size 512x512 --samples 4 --out barn
  vidjacobi image --label "golden retriever" --label 207 --model llamagen:c2i_B_384.pt --size 384x384 \\
      --tokenizer vq_ds16_c2i.pt
  vidjacobi image --prompts captions.jsonl --model janus:Janus-Pro-7B --rows 16 --devices auto
  vidjacobi image --prompts captions.jsonl --model janus:Janus-Pro-7B --rows 16 --shard $SLURM_ARRAY_TASK_ID/8

A list of prompts has one a line; a .jsonl has texts, {"prompt": "...", "id": "..."} or {"label": ...}.
Any setting may also be given as key=value; decoder.KEY=VALUE changes the decoder's own.
"""


def parser() -> ArgumentParser:
    """Arguments; a setting that is not given keeps its configuration's value."""
    made = options.new_parser("image", TEXT, EXAMPLES)
    what = "texts of pictures; key=value settings may follow"
    made.add_argument("words", nargs="*", metavar="PROMPT", help=what)
    add_subjects(made)
    add_model(made)
    _add_decoder(made)
    _add_output(made)
    return made


def add_subjects(parser: ArgumentParser) -> None:
    """Prompts, classes, and what is asked of their pictures."""
    add = parser.add_argument_group("what is to be seen").add_argument
    add("--prompts", type=Path, metavar="FILE", help="a list, one a line, or JSON lines (.jsonl)")
    labels = "a class by name or number, for models of classes; may be given several times"
    add("--label", action="append", default=[], dest="labels", metavar="CLASS", help=labels)
    add("--negative", metavar="TEXT", help="what guidance leads away from (the authors' own)")
    add("--size", metavar="WxH", help="pixels, such as 512x512 (the model's own)")
    add("--samples", type=options.whole, metavar="K", help="pictures of each prompt (1)")


def add_model(parser: ArgumentParser) -> None:
    """The model, and how it samples."""
    add = parser.add_argument_group("model and sampling").add_argument
    add("--config", default="default", help="settings to start from: default or a YAML path")
    add(
        "--model",
        metavar="NAME",
        help="NAME:PATH of a family, see `vidjacobi models`; or nano-image (the default)",
    )
    pixels = "what turns tokens into pixels, where it does not come with the weights"
    add("--tokenizer", metavar="PATH", help=pixels)
    add("--text-encoder", metavar="DIR", help="folder of a T5 encoder, for LlamaGen's captions")
    add("--features", metavar="FILE", help="npz of features and mask of the captions, in place of an encoder")
    add("--guidance", type=options.number, metavar="S", help="scale; 1 is none (the authors' own)")
    add("--seed", type=options.whole, metavar="S", help="the same seed gives the same pictures (0)")
    add("--temperature", type=options.number, metavar="T", help=">= 0; 0 is greedy (the authors' own)")
    add("--top-p", type=options.number, metavar="P", help="nucleus mass in (0, 1] (the authors' own)")
    add("--top-k", type=options.whole, metavar="K", help="likeliest tokens that are kept (the authors' own)")
    options.add_device(add)
    options.add_dtype(add)


def _add_decoder(parser: ArgumentParser) -> None:
    options.add_decoder(parser.add_argument_group("how").add_argument)


def _add_output(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("work and output").add_argument
    options.add_out(add, "out/image")
    add("--rows", type=options.whole, metavar="N", help="pictures decoded at a time (4)")
    add("--devices", metavar="LIST", help="a process on each: cuda:0,cuda:1, cpu, or auto: every GPU")
    add(
        "--workers",
        type=options.whole,
        metavar="N",
        help="processes, on the devices in turn (one per device)",
    )
    shard = "only every N-th prompt from the I-th on, I from 0: for several GPUs or Slurm arrays"
    add("--shard", metavar="I/N", help=shard)
    switch = partial(add, action="store_true")
    switch("--tokens", help="also write NAME.npy, the codes [h w]")
    switch("--quiet", help="print the last line (JSON) and errors only")
    either = parser.add_mutually_exclusive_group().add_argument  # they contradict each other
    either("--no-resume", dest="resume", action="store_false", help="refuse a folder that holds pictures")
    again = "go on in such a folder (the default)"
    either("--resume", dest="resume", action="store_true", default=True, help=again)
    options.add_other_versions(add)
    switch("--overwrite", help="begin anew in a folder that holds pictures")


def run(args: Namespace) -> tuple[dict[str, Any], int]:
    """What was made, and the exit status; all that can be checked is checked before the model is loaded. Raises
    VidjacobiError."""
    from vidjacobi.cli.image_model import unasked
    from vidjacobi.cli.image_pictures import Output
    from vidjacobi.cli.image_workers import make_with_workers
    from vidjacobi.config.image import load_image
    from vidjacobi.pictures.prompt_list import read_entries

    pairs, prompts = options.split_settings(args.words)
    config, decoder = load_image(args.config, vars(args), pairs)
    entries, notes = read_entries(prompts, args.labels, args.prompts, unasked(config.model))
    out = Path(os.path.abspath(args.out))
    output = Output(out, args.resume, args.overwrite, args.tokens, args.quiet)
    return make_with_workers(config, decoder, entries, output, notes)
