"""``vidjacobi bench``: compare decoders and windows with AR on the same contexts."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Decode the same contexts with several decoders and windows, alternating, beside ar.

OUT gets bench.csv (every decode, as it is made), bench.json, bench.md (tables, bars), nfe.png (at the end .svg and
.pdf too), and map_DECODER.png
of the first clip. The same command in the same OUT resumes where it stopped. Other clips' numbers, seeds, decoders,
windows or models may then be asked for (what is there is kept); anything else needs another OUT or --overwrite.
"""


def parser() -> ArgumentParser:
    """Arguments; what is not given keeps the configuration's value."""
    made = options.new_parser("bench", TEXT)
    add = made.add_argument
    clips = "videos to take contexts from; none: held-out clips that ship; key=value may follow"
    add("clip", nargs="*", metavar="CLIP", help=clips)
    add("--config", default="readme", help="quick, readme, nano, bars, micro or a YAML path (readme)")
    models = "bundled models, checkpoint folders, repositories, mineworld:PATH, ivideogpt:PATH, package.module:load"
    add("--models", nargs="+", metavar="NAME", help=models)
    options.add_tokenizer(add)
    add("--clips", type=options.whole, metavar="N", help="how many of the bundled held-out contexts")
    add("--decoders", nargs="+", metavar="NAME", help="decoders to compare with ar")
    add("--windows", type=options.wholes, metavar="N,M", help="window sizes")
    add("--seeds", type=options.wholes, metavar="S,T", help="every clip is decoded with each of them")
    acted = "a file of actions for each clip (none: the file of its name beside it), see rollout --actions"
    add("--actions", nargs="+", default=[], metavar="FILE", help=acted)
    options.add_context(add)
    options.add_frames(add)
    add("--batch", type=options.whole, metavar="N", help="clips decoded together")
    add("--workers", type=options.whole, metavar="N", help="processes; seconds mean most with one")
    options.add_device(add)
    options.add_dtype(add)
    options.add_compile(add)
    options.add_out(add, "out/bench")
    options.add_other_versions(add)
    again = "decoders whose decodes are dropped and made again"
    add("--again", nargs="+", default=[], metavar="NAME", help=again)
    add("--overwrite", action="store_true", help="begin anew in a folder that holds a bench")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Decode what is still missing; the summary. Raises VidjacobiError."""
    from vidjacobi.bench import running
    from vidjacobi.bench.bench_folder import TEXT as TABLES
    from vidjacobi.bench.bench_folder import folder_of, open_folder, write_results
    from vidjacobi.bench.duration import Pace, guess
    from vidjacobi.bench.material import Source
    from vidjacobi.bench.settings import load_bench
    from vidjacobi.config.rollout import unlike_the_authors
    from vidjacobi.output.locks import NO_LOCKS

    pairs, clips = options.split_settings(args.clip)
    config = load_bench(args.config, vars(args), pairs)
    job = running.Bench(
        config, Path(args.out), Source(tuple(Path(clip) for clip in clips), tuple(args.actions))
    )
    running.check(job)
    with folder_of(job.out).locked() as held:
        if not held:
            running.print_progress(f"{job.out}: {NO_LOCKS}")
        open_folder(config, job.out, job.source, args.overwrite, args.again, running.print_progress)
        for name in config.models:
            if note := unlike_the_authors(name, config.sampling(config.seeds[0])):
                running.print_progress(f"note: {note}")
        running.print_progress(str(guess(job)))
        pace, total = Pace(), len(running.pending(job))
        # the tables are complete after every group of decodes
        for left in running.run(job, running.print_progress):
            summary = write_results(config, job.out, job.count(), finished=not left)
            if left:
                running.print_progress(pace.left(total - left, total))
    print((job.out / TABLES).read_text(encoding="utf-8"))
    return {"out": str(args.out), "summary": summary}
