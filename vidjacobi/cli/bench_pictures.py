"""``vidjacobi bench pictures``: decoders and windows on pictures, beside AR."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import image, options

TEXT = """Decode the same pictures with several decoders and windows, beside ar, and count passes.

OUT gets bench.json (every picture's passes, tokens per pass and seconds, and means with 95 % intervals over the
prompts) and bench.md (the table that is printed). Prompts, classes, model, sampling and guidance are those of
`vidjacobi image`.
"""

EXAMPLES = """examples:
  vidjacobi bench pictures "A red barn in snow." "A lighthouse." --model janus:Janus-Pro-1B --windows 16,32,64
  vidjacobi bench pictures --prompts captions.txt --model emu3:Emu3-Gen-hf --decoders fast sjd mc_sjd pjd
"""


def parser() -> ArgumentParser:
    """Arguments; a setting that is not given keeps its configuration's value."""
    made = options.new_parser("bench pictures", TEXT, EXAMPLES)
    made.add_argument("words", nargs="*", metavar="PROMPT", help="texts of pictures; key=value may follow")
    image.add_subjects(made)
    image.add_model(made)
    add = made.add_argument_group("what is compared, and output").add_argument
    decoders = "decoders to compare with ar; mc_sjd+above is mc_sjd with another draft (pathwise fast)"
    add("--decoders", nargs="+", default=["pathwise", "fast"], metavar="NAME", help=decoders)
    add("--windows", type=options.wholes, default=[16, 32, 64], metavar="N,M", help="window sizes (16,32,64)")
    options.add_out(add, "out/bench_pictures")
    add("--rows", type=options.whole, metavar="N", help="pictures decoded at a time (4)")
    add("--overwrite", action="store_true", help="replace an earlier bench in OUT")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Decode and print the table; the summary. Raises VidjacobiError."""
    from vidjacobi.bench.pictures import Asked, decoders_of, measure, picture_bench_folder, write_results
    from vidjacobi.cli.image_model import named, opened, unasked
    from vidjacobi.cli.image_pictures import wanted_pictures
    from vidjacobi.cli.rollout_clips import ProgressBar
    from vidjacobi.config.image import load_image
    from vidjacobi.pictures.prompt_list import read_entries
    from vidjacobi.runtime import choose

    pairs, prompts = options.split_settings(args.words)
    config, _ = load_image(args.config, vars(args), pairs)
    entries, notes = read_entries(prompts, args.labels, args.prompts, unasked(config.model))
    decoders = decoders_of(args.decoders, args.windows)
    out, runtime = Path(os.path.abspath(args.out)), choose(config.device, config.dtype)
    folder = picture_bench_folder(out)
    folder.claim(args.overwrite)
    with ProgressBar("bench", config.rows) as bar:
        painter = opened(config, *named(config.model), runtime)
        for note in [*notes, *painter.notes]:
            bar.say(f"note: {note}")
        wanted = list(wanted_pictures(entries, painter, config.samples))
        sampling, scale = config.sampling(painter.preset), config.scale(painter.preset)
        keyed = [(one.subject, one.key) for one in wanted]
        rows = measure(Asked(painter, keyed, sampling, scale, config.rows), decoders, bar)
    about = {"model": config.model, "guidance": scale, "pictures": len(wanted), "dtype": str(runtime.dtype)}
    summary = write_results(out, rows, about)
    print((out / "bench.md").read_text(encoding="utf-8"))
    return {"out": str(out), "summary": summary}
