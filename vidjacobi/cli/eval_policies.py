"""``vidjacobi eval policies``: do policies rank in a world model as they do in the simulator?"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Run policies in a world model of Push-T and in the true simulator, and compare how they rank.

All worlds share the starts. Policies see frames alone: coverage of the goal and, for the scripted ones, where things
are, is read off them. OUT gets results.json, .csv, .md and .tex, report.html with the worlds side by side, and
episodes/ (what was played; the same command resumes, and more policies may be asked for). Two worlds are broken on
purpose and must rank badly: one in which nothing moves, and the model under the actions of other episodes. Spearman's
correlation of the mean of the largest coverage stands beside its bootstrap interval and its ceiling.

Needs the simulator: pip install -e ".[pusht]" in the checkout.
"""

EXAMPLES = """examples:
  vidjacobi eval policies --model pusht:out/nano-pusht
  vidjacobi eval policies --model pusht:out/nano-pusht --policy my_policies:push_left --out out/mine
  vidjacobi eval policies --model pusht:out/nano-pusht --policies still,good --starts 4 --frames 8 --out out/try

A policy of your own is a function of all frames so far, uint8 [n h w 3], that returns the next target (x, y), 0 to
512; or a class, which is made anew for each episode with the number of its start.
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("eval policies", TEXT, EXAMPLES)
    add = made.add_argument
    add("--model", required=True, metavar="NAME", help="the world model: nano-pusht, or pusht:FOLDER")
    options.add_out(add, "out/policies")
    options.add_other_versions(add)
    add("--policies", type=options.listed, metavar="A,B", help="scripted ones, from bad to good (all seven)")
    own = "one of your own beside them, package.module:function; may be given several times"
    add("--policy", dest="own", action="append", default=[], metavar="NAME", help=own)
    add("--starts", type=options.whole, default=30, metavar="N", help="episodes of each policy (30)")
    first = "seed of the first of them: other starts, to see a ranking confirmed"
    add("--first", type=options.whole, metavar="SEED", help=first)
    add("--frames", type=options.whole, default=32, metavar="N", help="that each policy acts for (32)")
    add("--videos", type=options.whole, default=1, metavar="N", help="starts that the report plays (1)")
    decoder = "of the model, see `vidjacobi decoders` (pathwise)"
    add("--decoder", default="pathwise", metavar="NAME", help=decoder)
    options.add_sampling(add)
    options.add_device(add, "auto")
    options.add_dtype(add, "float32")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Judge and print; ranks and verdict. Raises VidjacobiError."""
    from vidjacobi.eval.policies.pushers import JUDGED
    from vidjacobi.eval.policies.results import TEXT as TABLES
    from vidjacobi.eval.policies.run import PAGE, PolicyRun, judge

    names = (*(args.policies or JUDGED), *args.own)
    given = {
        name: getattr(args, name) for name in ("seed", "first", "temperature", "top_p", "other_versions")
    }
    config = PolicyRun(
        args.model,
        names,
        starts=args.starts,
        frames=args.frames,
        videos=args.videos,
        decoder=args.decoder,
        device=args.device,
        dtype=args.dtype,
        **{name: value for name, value in given.items() if value is not None},
    )
    out = Path(args.out)
    results = judge(config, out, lambda line: print(line, file=sys.stderr, flush=True))
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"{out / PAGE}: open it in a browser")
    kept = ("ranks", "ceiling", "verdict")
    return {"out": str(out), **{name: results[name] for name in kept}}
