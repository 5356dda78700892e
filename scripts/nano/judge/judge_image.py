"""Contact sheets of nano-image as it ships, a row for each class, and its held-out loss beside that of frequencies.

python scripts/nano judge-image                                 # out/nano_image/sheet_guidance_2.png and others
python scripts/nano judge-image --tokens runs/nano_image        # and the losses, on the pictures of encode-pictures
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

import vidjacobi
from scripts.nano.render.preview import write_sheet
from scripts.nano.train.encode_clips import load_tokens
from scripts.nano.train.train_image import unigram_loss
from scripts.nano.train.train_transformer import unigram_entropy
from vidjacobi.bench.likelihood import score
from vidjacobi.config.model_facts import preset
from vidjacobi.families.nano_image import NanoImage
from vidjacobi.families.opening import load_family
from vidjacobi.families.prompts import first_tokens

AT_ONCE = 8  # pictures that are scored together


def pictures_of(family: NanoImage, label: str, count: int, scale: float, seed: int) -> torch.Tensor:
    """``count`` pictures of a class, uint8 ``[count H W 3]``."""
    model = family.of_classes([label] * count, scale)
    names = [f"{label} {number}" for number in range(count)]
    sampling = replace(preset("nano-image", "class").sampling, seed=seed)
    context = first_tokens(model, count)
    found = vidjacobi.decode(model, context, family.grid.tokens, "pathwise", 32, sampling, clip_ids=names)
    return (family.pixels(found.tokens) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def losses(family: NanoImage, pictures: Int[Tensor, "n p"], told: bool) -> Float[Tensor, " n"]:
    """Nats a token of every picture, with its class or without. A picture is the id of its class and its tokens."""
    found, whole = torch.zeros(len(pictures)), vidjacobi.SamplingParams(top_p=1.0)
    for number in range(len(family.classes)):
        own = pictures[:, 0] == family.trunk.vocab_size + number
        if not own.any():
            continue
        model = family.of_classes([number], 1.0 if told else 0.0)
        parts = [
            score(
                model, torch.cat([first_tokens(model, len(part)), part[:, 1:]], 1), family.grid.tokens, whole
            )
            for part in pictures[own].split(AT_ONCE)
        ]
        found[own] = torch.cat([part.nll for part in parts])
    return found


def print_losses(family: NanoImage, folder: Path) -> None:
    """The table of losses, a line for each class."""
    train, heldout = load_tokens(folder, "train"), load_tokens(folder, "heldout")
    known, unknown = losses(family, heldout, told=True), losses(family, heldout, told=False)
    alone = unigram_loss(train, heldout, family.trunk.vocab_size)
    print(f"{len(heldout)} held-out pictures, {len(train)} to train on; nats a token")
    entropy = unigram_entropy(heldout[:, 1:])
    print(f"frequencies of the train tokens {alone:.3f}, entropy of the held-out ones {entropy:.3f}")
    print(f"the model {known.mean():.3f}, without the class {unknown.mean():.3f}")
    for number, name in enumerate(family.classes):
        own = heldout[:, 0] == family.trunk.vocab_size + number
        print(f"  {name:12} {known[own].mean():.3f} {unknown[own].mean():.3f} ({int(own.sum())} pictures)")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default="nano-image", help="or nano-image:FOLDER")
    options.add_argument("--tokens", type=Path, help="folder of encode-pictures")
    options.add_argument("--guidance", type=float, nargs="*", default=[1.0, 2.0, 3.0])
    options.add_argument("--columns", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path("out/nano_image"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Write the sheets, print the losses."""
    family = load_family(arguments.model, "cpu", "float32")
    if arguments.tokens:
        print_losses(family, arguments.tokens)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for scale in arguments.guidance:
        rows = [
            pictures_of(family, label, arguments.columns, scale, arguments.seed) for label in family.classes
        ]
        path = arguments.out / f"sheet_guidance_{scale:g}.png"
        write_sheet(rows, str(path))
        print(f"{path}: from the top {', '.join(family.classes)}")
