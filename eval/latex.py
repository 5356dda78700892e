"""``results.tex``: the table of an evaluation for a paper, with a caption that names its protocol."""

from collections.abc import Sequence
from pathlib import Path

from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.results import Line, mean_psnr, shows_lpips
from vidjacobi.eval.tex import TexColumn, escaped, tex_estimate, tex_number, tex_tables
from vidjacobi.output.atomic import replacing

_LABEL = "tab:vidjacobi"


def write_latex(path: Path, lines: Sequence[Line], label: str, caption: Sequence[str]) -> None:
    """Write ``results.tex``, whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        partial.write_text(latex(lines, label, caption), encoding="ascii")


def latex(lines: Sequence[Line], label: str, caption: Sequence[str]) -> str:
    """All lines, references last, as one ``table*`` or, if they are many, several. ``caption``: plain sentences."""
    decoders = [line for line in lines if line["decoder"] not in REFERENCES]
    ordered = decoders + [line for line in lines if line["decoder"] in REFERENCES]
    return tex_tables(_columns(label, shows_lpips(lines)), ordered, _LABEL, caption, len(decoders))


def _columns(label: str, lpips: bool) -> list[TexColumn]:
    distance = escaped(label)
    found = [
        TexColumn(("Decoder", ""), lambda line: escaped(line["decoder"]), align="l"),
        TexColumn(("Guarantee", ""), lambda line: escaped(line["guarantee"]), align="l"),
        TexColumn(("$L$", ""), lambda line: tex_number(line["window"], 0)),
        TexColumn(("NFE", ""), lambda line: tex_number(line["passes"], 1)),
        TexColumn(("NFE", "x fewer"), *tex_estimate("fewer_passes", 2)),
        TexColumn(("Latency", "[s]"), lambda line: tex_number(line["seconds"], 2)),
        TexColumn(("Latency", "x faster"), *tex_estimate("faster", 2)),
        TexColumn((distance, ""), lambda line: tex_number(line["fvd"], 1)),
        TexColumn((distance, "$-$ AR's"), *tex_estimate("fvd_above_ar", 1)),
        TexColumn(("PSNR", "[dB]"), lambda line: tex_number(mean_psnr(line), 2)),
        TexColumn(("SSIM", ""), lambda line: tex_number(line["ssim"], 3)),
    ]
    if lpips:
        found.append(TexColumn(("LPIPS", ""), lambda line: tex_number(line["lpips"], 3)))
    share = "ar_agreement"
    return [
        *found,
        TexColumn(
            ("AR's", r"tokens [\%]"),
            lambda line: tex_number(None if line[share] is None else 100 * line[share], 1),
        ),
    ]
