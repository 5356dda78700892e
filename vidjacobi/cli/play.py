"""``vidjacobi play``: a local page on which a world model runs."""

import sys
from argparse import ArgumentParser, Namespace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidjacobi.cli import options

if TYPE_CHECKING:
    from vidjacobi.play.beginnings import Begin

TEXT = """Step a world model on a page in your browser: run, fork, rewind, act.

The page is served on this machine only (127.0.0.1), and its address holds a token that nobody can guess. It shows
frames a second, passes a latent frame and what the decoder promises. Forks stand side by side, with the same dice
or with fresh ones. Models that follow actions take keys (mineworld:PATH) or the pointer (pusht:PATH).
CLIP gives the first frames; none: the bundled sample, and for nano-pusht starts of its own, beside the true Push-T
where that is installed. Ctrl-C ends it.
"""

EXAMPLES = """examples:
  vidjacobi play
  vidjacobi play clip.mp4 --context 9 --decoder gs_sjd --window 64
  vidjacobi play frame.png --model mineworld:300M_16f.ckpt --context 1
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("play", TEXT, EXAMPLES)
    made.add_argument("clip", nargs="?", metavar="CLIP", help="video, image or folder of frames")
    add = made.add_argument
    options.add_model(add, "nano")
    options.add_context(add, 9, image=True)
    add("--start", type=options.whole, default=0, metavar="N", help="first context frame (0)")
    options.add_decoder(add, "pathwise")
    options.add_sampling(add)
    options.add_device(add, "auto")
    options.add_dtype(add, "auto")
    add("--port", type=options.whole, default=0, metavar="N", help="of the page (a free one)")
    return made


def first_frames(path: Path, args: Namespace) -> Any:
    """The frames that a world is given. Raises BadInput."""
    from vidjacobi.video.timed_reader import shared

    return shared().read_frames(path, args.start, args.context).frames


def given_frames(clip: Any, args: Namespace) -> "Begin":
    """A game that always begins with the frames of a clip; None: of the bundled sample."""
    from vidjacobi.play.beginnings import Beginning

    if clip is None:
        with resources.as_file(resources.files("vidjacobi") / "assets" / "sample.mp4") as sample:
            clip = first_frames(sample, args)
    return lambda _: Beginning(clip)


def run(args: Namespace) -> dict[str, Any]:
    """Serve until it is stopped. Raises VidjacobiError where the model or the clip cannot be used."""
    from vidjacobi.errors import InvalidArgument
    from vidjacobi.play.controls import open_playable
    from vidjacobi.play.game import Game
    from vidjacobi.play.server import PlayServer
    from vidjacobi.sampling.probs import SamplingParams
    from vidjacobi.session import Session

    given = {"temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}
    sampling = SamplingParams(**{name: value for name, value in given.items() if value is not None})
    clip = None if args.clip is None else first_frames(Path(args.clip), args)
    played = open_playable(args.model, args.device, args.dtype, args.tokenizer)
    if played.note and clip is None:
        print(f"vidjacobi play: {played.note}", file=sys.stderr, flush=True)
    start, truth = played.begin, played.truth
    if clip is not None or start is None:
        start, truth = given_frames(clip, args), None

    def begin(number: int) -> Session:
        beginning = start(number)
        return Session(
            played.model,
            played.tokenizer,
            beginning.frames,
            decoder=args.decoder,
            window=args.window,
            sampling=sampling,
            names=[f"play {number}"],
            condition=played.controls.condition,
            context_actions=[beginning.actions],
        )

    game = Game(begin, played.controls, truth)
    try:
        server = PlayServer(game, played.controls, {"model": args.model, "decoder": args.decoder}, args.port)
    except (OSError, OverflowError) as error:  # one of -1 or 70000 is no port at all
        why = error.strerror if isinstance(error, OSError) else "ports are 0 to 65535"
        raise InvalidArgument(f"port {args.port} cannot be used ({why}): leave --port out") from error
    url = server.url
    print(f"vidjacobi play: open {url}\nCtrl-C ends it.", file=sys.stderr, flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("", file=sys.stderr)
    return {"model": args.model, "decoder": args.decoder, "latents": max(game.session.latents)}
