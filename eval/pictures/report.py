"""Files of an evaluation of pictures: results.json, .csv, .md, .tex, and sheet.png, a row for each run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vidjacobi.bench.table import markdown
from vidjacobi.errors import number_of
from vidjacobi.eval.pictures.sets import PictureSet
from vidjacobi.eval.results import estimate, number, write_csv
from vidjacobi.eval.tex import TexColumn, escaped, tex_estimate, tex_number, tex_tables
from vidjacobi.output.atomic import replacing, write_json, write_text
from vidjacobi.video.images import read_image

RECORD, TABLE, TEXT, LATEX, SHEET = "results.json", "results.csv", "results.md", "results.tex", "sheet.png"
FILES = (RECORD, TABLE, TEXT, LATEX, SHEET)
COLUMNS = 8  # pictures of a run on the sheet, at most
GAP, LINE = 6, 18  # pixels between pictures, and of the line with the run's name


def write_results(out: Path, results: Mapping[str, Any], runs: Sequence[PictureSet]) -> None:
    """All files. Raises BadOutput."""
    write_json(out / RECORD, results)
    write_csv(out / TABLE, results["lines"])
    write_text(out / TEXT, text(results))
    with replacing(out / LATEX) as partial:
        partial.write_text(latex(results), encoding="ascii")
    with replacing(out / SHEET) as partial:
        sheet(runs).save(partial, format="PNG")


def text(results: Mapping[str, Any]) -> str:
    """``results.md``."""
    label = results["label"]
    head = [
        "run",
        "decoder",
        "guarantee",
        "L",
        "NFE",
        "tokens per pass",
        "latency [s]",
        label,
        f"{label} - AR's",
    ]
    head += ["AR's pictures"]
    body = [
        [
            *(line["run"], line["decoder"], line["guarantee"], str(line["window"] or "")),
            *(number(line["nfe"], 1), estimate(line["tokens_per_pass"], 2), number(line["seconds"], 2)),
            *(number(line["distance"], 2), estimate(line["above_ar"], 2)),
            "" if line["ar_pictures"] is None else f"{100 * line['ar_pictures']:.1f} %",
        ]
        for line in results["lines"]
    ]
    notes = [f"**{warning}**" for warning in results["warnings"]]
    facts = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in results["protocol"].items())
    return "\n\n".join([markdown(head, body), *notes, " ".join(conventions(results)), facts]) + "\n"


def conventions(results: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, in sentences."""
    label, base, floor = results["label"], results["reference"], results["floor"]
    protocol = results["protocol"]
    seed = "" if base["seed"] is None else f" of seed {base['seed']}"
    said = [
        f"{number_of(results['pictures'], 'picture')} of each run; {label} is the Frechet distance from "
        f"{base['name']}, {base['kind']}{seed}, by {protocol['network']}, weights sha256 "
        f"{protocol['weights_sha256'][:12]}.",
    ]
    if floor:
        said.append(
            f"Its floor is {floor['mean']:.2f} +- {floor['std']:.2f}: two disjoint halves of {base['name']}, "
            f"{floor['clips_per_half']} each."
        )
    said += [
        "NFE are passes, the prefill included; latency is a picture's share of its batch's decoding, without pixels.",
        "Brackets are 95 % intervals: of tokens per pass over prompts, of the difference by a paired bootstrap over "
        "pictures.",
    ]
    return said


def latex(results: Mapping[str, Any]) -> str:
    """``results.tex``."""
    label = results["label"]
    columns = [
        TexColumn(("Decoder", ""), lambda line: escaped(line["decoder"]), align="l"),
        TexColumn(("Guarantee", ""), lambda line: escaped(line["guarantee"]), align="l"),
        TexColumn(("$L$", ""), lambda line: tex_number(line["window"], 0)),
        TexColumn(("NFE", ""), lambda line: tex_number(line["nfe"], 1)),
        TexColumn(("Tokens", "per pass"), *tex_estimate("tokens_per_pass", 2)),
        TexColumn(("Latency", "[s]"), lambda line: tex_number(line["seconds"], 2)),
        TexColumn((escaped(label), ""), lambda line: tex_number(line["distance"], 2)),
        TexColumn((escaped(label), "$-$ AR's"), *tex_estimate("above_ar", 2)),
    ]
    said = [*conventions(results), *(f"{warning}." for warning in results["warnings"])]
    return tex_tables(columns, results["lines"], "tab:pictures", said)


def sheet(runs: Sequence[PictureSet]) -> Image.Image:
    """Some pictures of every run, evenly chosen, those of a name in a column. Raises BadInput for a damaged one."""
    names = [*runs[0].files]
    # evenly: the first would be samples of one prompt
    if len(names) > COLUMNS:
        names = [names[index * len(names) // COLUMNS] for index in range(COLUMNS)]
    rows = [[read_image(run.files[name]) for name in names] for run in runs]
    height, width = rows[0][0].shape[:2]
    size = (GAP + len(rows[0]) * (width + GAP), GAP + len(rows) * (LINE + height + GAP))
    made = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(size=13)
    for row, (run, pictures) in enumerate(zip(runs, rows, strict=True)):
        top = GAP + row * (LINE + height + GAP)
        shown = run.name.encode("ascii", "replace").decode()
        pen.text((GAP, top), shown, fill=(30, 30, 30), font=font)
        for column, picture in enumerate(pictures):
            made.paste(Image.fromarray(picture), (GAP + column * (width + GAP), top + LINE))
    return made
