"""What an evaluation hands to a reader: plots, captions and the LaTeX table, from made-up results."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_results import MANY, made_up

from vidjacobi.errors import InvalidArgument
from vidjacobi.eval import captions
from vidjacobi.eval.latex import escaped, latex
from vidjacobi.eval.plots import plots, write_figures
from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.quality import Quality
from vidjacobi.eval.report import result_table
from vidjacobi.eval.results import Line, averages, mean_psnr
from vidjacobi.eval.settings import EvalConfig

CONFIG = EvalConfig(data="rooms", decoders=list(MANY), windows=[64], draws=40)


def sentences(lines: list[Line], ar: dict) -> list[str]:
    """The caption of the LaTeX table."""
    conventions = captions.conventions(CONFIG, ar, "FVD", "2 CPU cores, float32")
    return [
        captions.setting(CONFIG, 24),
        captions.against_ar(lines, "FVD"),
        captions.references(),
        *conventions,
    ]


def test_a_plot_of_one_window_names_the_decoders_and_has_paired_intervals(tmp_path: Path) -> None:
    lines, _ = made_up(windows=(64,), clips=6)
    drawn = plots(lines, "FVD")
    assert [plot.stem for plot in drawn] == ["nfe", "latency", "distance"]
    for plot in drawn:
        (axis,) = plot.figure.axes
        assert [label.get_text() for label in axis.get_yticklabels()] == list(MANY)
    (axis,) = drawn[2].figure.axes
    bars = [list(line.get_xdata()) for line in axis.get_lines() if line.get_marker() in ("None", "")]
    for line in lines:
        if line["decoder"] in MANY:
            half = (line["fvd_above_ar"]["high"] - line["fvd_above_ar"]["low"]) / 2
            assert any(
                bar == pytest.approx([line["fvd"] - half, line["fvd"] + half], abs=1e-9) for bar in bars
            ), line["decoder"]
    assert "paired bootstrap" in drawn[2].caption
    assert "Hollow: lossy" in drawn[2].caption
    write_figures(tmp_path, drawn)
    names = {f"{stem}.{kind}" for stem in ("nfe", "latency", "distance") for kind in ("svg", "pdf")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names


def test_several_windows_are_drawn_over_the_window() -> None:
    lines, _ = made_up(("gs_sjd", "fast"), (16, 64), clips=6)
    drawn = plots(lines, "FVD")
    for plot in drawn:
        assert list(plot.figure.axes[0].get_xticks()) == [16, 64]
    assert "lossy" not in drawn[0].caption  # none is


def with_interval(decoder: str, window: int, low: float, high: float) -> Line:
    return {
        "decoder": decoder,
        "window": window,
        "fvd_above_ar": {"mean": (low + high) / 2, "low": low, "high": high},
    }


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (
            [with_interval("fast", 64, -1, 2)],
            "The interval of FVD - AR's contains 0 for every decoder and window.",
        ),
        (
            [
                with_interval("fast", 64, -1, 2),
                with_interval("fast", 128, 1, 2),
                with_interval("sjd", 64, -3, -1),
            ],
            "The interval of FVD - AR's contains 0 for fast at 64; it lies above 0 for fast at 128; it lies below 0 "
            "for sjd. Of decoders that equal AR, one interval in 20 misses 0 by chance.",
        ),
        ([with_interval("frozen", 0, 1, 2), {"decoder": "ar", "window": 1, "fvd_above_ar": None}], ""),
    ],
)
def test_what_is_said_of_the_decoders_is_computed(lines: list[Line], text: str) -> None:
    assert captions.against_ar(lines, "FVD") == text


def test_one_clip_of_one_frame_is_named_as_such() -> None:
    said = captions.setting(replace(CONFIG, context=1, stride=2), 1)
    assert "1 clip, 1 frame given, 24 predicted, stride 2, " in said


def test_no_caption_promises_what_the_numbers_can_contradict() -> None:
    lines, ar = made_up(clips=6)
    table = result_table(
        lines, {"label": "FVD", "conventions": captions.conventions(CONFIG, ar, "FVD", "a CPU")}
    )
    for text in (table.note, *REFERENCES.values(), *sentences(lines, ar)):
        assert not re.search(r"\b(best|cannot|no decoder|always|never)\b", text)
    assert "SSIM with a Gaussian window (11x11, sigma 1.5) over the whole map" in table.note


def test_the_caption_names_the_borders_that_ssim_was_computed_with() -> None:
    _, ar = made_up(clips=6)
    said = " ".join(captions.conventions(replace(CONFIG, ssim_borders="valid"), ar, "FVD", "a CPU"))
    assert "over the map without 5 pixels at each border" in said
    assert "mirrored" not in said
    with pytest.raises(InvalidArgument, match="did you mean 'valid'"):
        replace(CONFIG, ssim_borders="valud").check()


def test_frames_that_equal_the_truth_are_counted_and_left_out() -> None:
    rows = [
        Quality("fast", 64, 0, [None, 30.0], [1.0, 0.5]),
        Quality("fast", 64, 1, [20.0, None], [0.5, 1.0]),
    ]
    found = averages(rows)
    assert (found["psnr"], found["ssim"], found["identical_frames"]) == (25.0, 0.75, 2)
    same = averages([Quality("fast", 64, 0, [None, None], [1.0, 1.0])])
    assert same["psnr"] is None
    assert mean_psnr(same) == float("inf")
    assert mean_psnr({"psnr": None, "identical_frames": 0}) is None


def test_the_latex_table_is_well_formed() -> None:
    lines, ar = made_up()
    text = latex(lines, "FVD-pv_x & 100%", sentences(lines, ar))
    assert text.isascii()
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in text
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2  # a page holds 20 lines
    assert r"\hline" not in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    (align,) = set(re.findall(r"\\begin\{tabular\}\{(\w+)\}", text))
    body = [row for row in text.splitlines() if re.search(r"\\\\(\[1pt\])?$", row)]
    assert {len(re.split(r"(?<!\\)&", row)) for row in body} == {len(align)}
    # two lines of heading in each table, and a row of intervals below each row of values
    assert len(body) == 2 * 2 + 2 * len(lines)
    for word in ("24 clips, 9 frames given, 24 predicted", "top-p 0.8", "Student's t", "whole map", "ddof 1"):
        assert word in text
    assert r"mc\_sjd & lossless & 64" in text


@pytest.mark.parametrize(
    ("plain", "made"),
    [
        ("a_b & 50% #1 $x$", r"a\_b \& 50\% \#1 \$x\$"),
        ("~^\\{}", r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}"),
        ('<|">', r"\textless{}\textbar{}''\textgreater{}"),
        ("\u4e2d\n\x00", "U+4E2DU+000AU+0000"),
    ],
)
def test_any_name_is_text_in_latex(plain: str, made: str) -> None:
    assert escaped(plain) == made


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX (Debian: texlive-latex-recommended)")
def test_latex_sets_the_table_within_the_page(tmp_path: Path) -> None:
    lines, ar = made_up()
    names = [*sentences(lines, ar), "All signs: " + "".join(map(chr, range(32, 127)))]
    (tmp_path / "results.tex").write_text(latex(lines, "FVD", names))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage[margin=1in]{geometry}"
        "\\begin{document}\\input{results.tex}\\end{document}"
    )
    found = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-2000:]
    assert "Overfull" not in found.stdout
    assert "Float too large" not in found.stdout
