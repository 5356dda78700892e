"""The command of this package: one stage of making and judging nano, micro, nano-image or nano-pusht.

python scripts/nano STAGE ...          from anywhere, by path
python -m scripts.nano STAGE ...       from the root of the checkout
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run by path, Python knows only this folder

from vidjacobi.errors import VidjacobiError
from vidjacobi.registry import lookup

STAGES = {  # in the order of `make nano`; each module has parser() and run(arguments)
    "make-data": ("render.make_data", "render the training and held-out clips"),
    "preview": ("render.preview", "a contact sheet of rendered clips, a row for each seed"),
    "sample-clip": ("render.sample_clip", "the sample clip that ships with vidjacobi"),
    "train-tokenizer": ("train.train_tokenizer", "the first stage of a video tokenizer"),
    "sharpen-tokenizer": ("train.sharpen_tokenizer", "its second stage: the decoder against a critic"),
    "encode-clips": ("train.encode_clips", "rendered clips to tokens; train-transformer does so itself"),
    "train-transformer": ("train.train_transformer", "the transformer, on the tokens of the rendered clips"),
    "export": ("train.export", "the trained model as it ships"),
    "encode-pictures": ("train.encode_pictures", "render pictures of named scenes, and their tokens"),
    "train-image": ("train.train_image", "nano-image, on the tokens of these pictures"),
    "export-image": ("train.export_image", "nano-image as it ships"),
    "clip-statistics": ("judge.clip_statistics", "how textured and restless clips are, rendered or real"),
    "judge-tokenizer": ("judge.judge_tokenizer", "PSNR, SSIM and FVD of a tokenizer"),
    "judge-transformer": ("judge.judge_transformer", "held-out loss of a transformer"),
    # in the order of `make nano-pusht`
    "pusht-data": ("pusht.record_pushes", "episodes of Push-T in the true simulator"),
    "pusht-dataset": ("pusht.push_dataset", "episodes as a LeRobot dataset, held-out ones unless told"),
    "pusht-tokenizer": ("pusht.train_patches", "nano-pusht's tokenizer"),
    "pusht-encode": ("pusht.encode_pushes", "episodes to tokens; pusht-transformer does so itself"),
    "pusht-transformer": ("pusht.train_push_world", "nano-pusht's transformer, which follows actions"),
    "pusht-export": ("pusht.export_pusht", "the trained model as it ships"),
    "judge-pusht": ("pusht.judge_pushes", "poses and FVD of its rollouts with given actions"),
    "pusht-plan": ("pusht.plan_pushes", "a planner in it, judged in the simulator"),
    "judge-image": ("judge.judge_image", "contact sheets and held-out loss of nano-image"),
    "image-decoders": ("judge.image_decoders", "passes of every decoder on nano-image"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one stage. Returns the exit status: 0, or 2 after the message of a bad request or input."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    try:
        module, _ = lookup("stage", words[0], STAGES)
        stage = import_module(f"scripts.nano.{module}")
        parser = stage.parser()
        parser.prog = f"python scripts/nano {words[0]}"
        stage.run(parser.parse_args(words[1:]))
    except VidjacobiError as error:
        print(f"nano: error: {error}", file=sys.stderr)
        return 2
    return 0


def overview() -> str:
    """What there is, a line for each stage."""
    width = max(map(len, STAGES))
    lines = [f"  {name:{width}}  {about}" for name, (_, about) in STAGES.items()]
    return "\n".join(["usage: python scripts/nano STAGE ...", "", *lines, "", "STAGE --help says more."])


if __name__ == "__main__":
    sys.exit(main())
