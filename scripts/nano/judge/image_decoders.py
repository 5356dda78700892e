"""Passes of the decoders on nano-image: windows x decoders, means over pictures of all classes with 95 % intervals.

    python scripts/nano image-decoders                          # half an hour of one core
    python scripts/nano image-decoders --windows 16 --decoders sjd mc_sjd --pictures 8 --out out/quick

A line for each setting goes to ``decoders.jsonl``; settings that are there are not run again. "nats" is the mean
negative log-likelihood of the tokens under the class's own probabilities, which is AR's where a decoder is exact.
A draft behind a plus sign takes the place of the decoder's own: ``mc_sjd+above``. Pictures are decoded by
``vidjacobi.bench.pictures``, as ``vidjacobi bench pictures`` does, which counts passes of other models and prompts.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from scripts.nano.judge.judge_image import losses
from vidjacobi.bench.pictures import Asked, decoder_of, decodes
from vidjacobi.config.decoder import with_window
from vidjacobi.config.model_facts import preset
from vidjacobi.families.nano_image import NanoImage
from vidjacobi.families.opening import load_family
from vidjacobi.families.painters.contract import Subject
from vidjacobi.families.painters.nano_image import NanoImagePainter

DECODERS = (
    *("ar", "sjd", "mc_sjd", "gs_sjd", "sjd_pac", "pathwise", "fast", "mc_sjd+left", "mc_sjd+above"),
    *("pathwise+left", "pathwise+above", "sjdpp", "pjd", "zipar", "diagonal"),
)
AT_ONCE = 16  # pictures of a batch


def measure(
    family: NanoImage, name: str, window: int | None, arguments: argparse.Namespace
) -> dict[str, object]:
    """NFE of every picture, and how likely its tokens are."""
    labels = [family.classes[number % len(family.classes)] for number in range(arguments.pictures)]
    painter = NanoImagePainter(family, preset("nano-image", "class"))
    keyed = [(Subject(label=label), str(number)) for number, label in enumerate(labels)]
    sampling = replace(painter.preset.sampling, seed=arguments.seed)
    asked = Asked(painter, keyed, sampling, arguments.guidance, AT_ONCE)
    config = decoder_of(name) if window is None else with_window(decoder_of(name), window)
    nfe: list[int] = []
    nats: list[float] = []
    seconds, guarantee = 0.0, ""
    for first, _, found in decodes(asked, [config]):
        nfe += found.stats.nfe
        seconds, guarantee = seconds + found.stats.seconds, found.stats.guarantee
        part = labels[first : first + AT_ONCE]
        nats += losses(family, with_classes(family, part, found.tokens), told=True).tolist()
    return {
        "decoder": name,
        "window": window,
        "guarantee": guarantee,
        "nfe": nfe,
        "nats": nats,
        "seconds": seconds,
        "guidance": arguments.guidance,
        "seed": arguments.seed,
        "dtype": str(family.trunk.dtype),
    }


def with_classes(family: NanoImage, labels: list[str], tokens: Tensor) -> Tensor:
    """The id of each picture's class before its tokens."""
    ids = [family.trunk.vocab_size + family.number(label) for label in labels]
    return torch.cat([torch.tensor(ids)[:, None], tokens], 1)


def mean_words(values: list[float], digits: int) -> str:
    """Mean and half of its 95 % interval."""
    numbers = torch.tensor(values, dtype=torch.float64)
    half = 1.96 * numbers.std() / len(numbers) ** 0.5
    return f"{numbers.mean():.{digits}f} ± {half:.{digits}f}"


def print_table(rows: list[dict]) -> None:
    """Markdown: a line for each decoder, a column for each window."""
    windows = sorted({row["window"] for row in rows if row["window"]})
    print("| decoder | guarantee | " + " | ".join(f"NFE, window {n}" for n in windows) + " | nats a token |")
    print("|---" * (len(windows) + 3) + "|")
    for name in dict.fromkeys(row["decoder"] for row in rows):
        own = [row for row in rows if row["decoder"] == name]
        cells = {row["window"]: mean_words(row["nfe"], 1) for row in own}
        nats = [value for row in own for value in row["nats"]]
        filled = " | ".join(cells.get(window, cells.get(None, "")) for window in windows)
        print(f"| `{name}` | {own[0]['guarantee']} | {filled} | {mean_words(nats, 3)} |")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default="nano-image", help="or nano-image:FOLDER")
    options.add_argument("--decoders", nargs="+", default=list(DECODERS), metavar="NAME")
    options.add_argument("--windows", type=int, nargs="+", default=[16, 32, 64, 96])
    options.add_argument("--pictures", type=int, default=32)
    options.add_argument("--guidance", type=float, default=preset("nano-image", "class").guidance)
    options.add_argument("--dtype", default="auto", help="as of the command")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path("out/nano_image"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Measure what is missing, window by window, and print the table."""
    family = load_family(arguments.model, "cpu", arguments.dtype)
    path = arguments.out / "decoders.jsonl"
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wanted = [(name, window) for window in arguments.windows for name in arguments.decoders]
    wanted = [(name, None if name == "ar" else window) for name, window in wanted]
    for name, window in wanted:
        if any((row["decoder"], row["window"]) == (name, window) for row in rows):
            continue
        row = measure(family, name, window, arguments)
        rows.append(row)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name} {window}: NFE {mean_words(row['nfe'], 1)}, {row['seconds']:.0f} s", flush=True)
    print_table(rows)
