"""``vidjacobi curve``: pass times by window size, for the adaptive decoder."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options
from vidjacobi.errors import InvalidArgument

TEXT = """Measure a pass at several windows: median seconds and mean tokens decided, as YAML.

The adaptive decoder chooses its window by such a file, never by the clock, so its tokens and passes can be
reproduced anywhere. A rollout's rollout.json records the numbers that it used.
"""

EXAMPLES = """examples:
  vidjacobi curve --out mine.yaml
  vidjacobi rollout --decoder adaptive decoder.lanes.curve=mine.yaml clip.mp4
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("curve", TEXT, EXAMPLES)
    add = made.add_argument
    add("clips", nargs="*", metavar="CLIP", help="videos with contexts; none: the model's held-out ones")
    options.add_model(add, "nano")
    add("--decoder", default="pathwise", metavar="NAME", help="whose passes are measured (pathwise)")
    add(
        "--windows",
        type=options.wholes,
        default=[16, 32, 64, 128, 256],
        metavar="N,M",
        help="window sizes",
    )
    add("--count", type=options.whole, default=4, metavar="N", help="how many held-out contexts (4)")
    options.add_context(add, 9)
    options.add_frames(add, 24)
    options.add_device(add, "auto")
    options.add_dtype(add, "auto")
    add("--out", type=options.place, default="curve.yaml", metavar="FILE", help="file to write (curve.yaml)")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Measure and write; the curve. Raises VidjacobiError."""
    from vidjacobi.bench.curve import measure_curve, write_curve
    from vidjacobi.bench.material import contexts_of
    from vidjacobi.config.decoder import load_decoder
    from vidjacobi.decoding.api import strategies_of
    from vidjacobi.loading import load
    from vidjacobi.models.own import refuse_family
    from vidjacobi.models.protocol import flatten
    from vidjacobi.runtime import choose, describe_device, versions

    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise InvalidArgument(f"a curve is a YAML file: {out} should end in .yaml")
    refuse_family(args.model)
    strategies_of(
        load_decoder(args.decoder)
    )  # refuses a decoder that cannot be built, before the model is loaded
    runtime = choose(args.device, args.dtype)
    pair = load(args.model, args.device, args.dtype, args.tokenizer)
    clips = [Path(clip) for clip in args.clips]
    grids = contexts_of(args.model, pair, args.context, clips)[: max(1, args.count)]
    # whole latent frames are decided: 12 frames of nano, 8 for each latent frame, are ceil(12 / 8) = 2
    latents = -(-args.frames // pair[1].stride_t)
    contexts, new_tokens = flatten(pair[0], grids), latents * grids[0, 0].numel()
    curve = measure_curve(pair[0], contexts, new_tokens, args.decoder, args.windows)
    about = {"model": args.model, "decoder": args.decoder, "dtype": str(runtime.dtype).removeprefix("torch.")}
    about |= {"device": describe_device(runtime.device), "torch": versions()["torch"]}
    write_curve(out, curve, about)
    print(out.read_text(encoding="utf-8"), end="")
    return {"out": str(out), **curve}
