"""The same frames and the same features through the metrics of many packages, and how far each is from exact values.

    python scripts/metric_conformance.py              # the tables on the console
    python scripts/metric_conformance.py --write      # into docs/metrics.md

The packages are installed into a temporary folder, at the versions below and without what they depend on; torch,
numpy, scipy and Pillow are those of the Python that runs this. Nothing is installed beside them. A call that
raises an error is a cell "refused", and the error is printed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import metric_cases as cases
import tried_distances
import tried_metrics
from page_parts import write_part

HERE = Path(__file__).parent
PINS = (
    "torchmetrics==1.9.0",
    "scikit-image==0.26.0",
    "piq==0.8.0",
    "pytorch-msssim==1.0.0",
    "piqa==1.3.2",
    "sewar==0.4.10",
    "opencv-contrib-python-headless==5.0.0.93",
    "imageio-ffmpeg==0.8.1",
    "mpmath==1.4.1",
    "pytorch-fid==0.3.0",
    "torch-fidelity==0.4.0",
    "clean-fid==0.1.35",
    "cd-fvd==0.1.1",
    "fvmd==1.0.0",
    # what these import
    "lazy-loader==0.4",
    "lightning-utilities==0.15.3",
    "loguru==0.7.3",
    "requests==2.34.2",
    "urllib3==2.8.0",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "idna==3.20",
)
Found = dict[str, dict[str, float | str]]  # line of a table -> case -> number, or why there is none


def install(folder: Path) -> None:
    """Put the packages into a folder."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *PINS]
    subprocess.run(command, check=True)


def measured(script: str, file: Path, packages: Path) -> Found:
    """The numbers of all packages of a script, in a process that sees them."""
    paths = os.pathsep.join([str(packages), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / script), str(file)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Found = {}
    for line in done.stdout.splitlines():
        if line.startswith("SCORE "):
            name, case, value = json.loads(line[6:])
            found.setdefault(name, {})[case] = value
            if isinstance(value, str):
                print(f"{name}, {case}: {value}", file=sys.stderr)
    return found


def number(value: float | str | None, digits: int) -> str:
    """A cell."""
    if value is None or isinstance(value, str):
        return "" if value is None else "refused"
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "NaN")
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def off(pairs: list[tuple[float | str, float | None]], relative: bool = False) -> str:
    """The largest distance from exact values, and what is finite that should not be, or the other way round."""
    found, odd = 0.0, set()
    for value, exact in pairs:
        if exact is None or isinstance(value, str) or value == exact:
            continue
        if not (math.isfinite(value) and math.isfinite(exact)):
            odd.add(f"{number(value, 0)} for {number(exact, 0)}")
            continue
        found = max(found, abs(value - exact) / (max(1.0, abs(exact)) if relative else 1.0))
    return ", ".join([f"{found:.1e}" if found else "0", *sorted(odd)])


def frames_tables(packages: Path, folder: Path) -> dict[str, str]:
    """The tables of SSIM and PSNR."""
    tried = tried_metrics.all_metrics()
    found = measured("tried_metrics.py", folder / "frames.npz", packages)
    pairs = cases.pairs()
    tables = {}
    for metric, digits in (("SSIM", 5), ("PSNR", 3)):
        mine = {name: one for name, one in tried.items() if one.metric == metric}
        head = ["package", "call", *pairs, "clip", "convention", "off its exact value by"]
        lines = [_row(head), "|---" * len(head) + "|"]
        for name, one in mine.items():
            values = found[name]
            exact = {
                case: cases.exact_psnr(*both, cases.top_of(both[0]))
                if metric == "PSNR"
                else cases.exact_ssim(*both, cases.WINDOWS[one.window], cases.top_of(both[0]))
                for case, both in pairs.items()
                if metric == "PSNR" or one.window
            }
            said = (
                cases.WINDOWS[one.window].text
                if one.window
                else "the filter's own, of planes of half the size"
            )
            gap = off([(values[case], value) for case, value in exact.items()]) if "4:2:0" not in name else ""
            text = "; ".join(part for part in (said if metric == "SSIM" else "", one.note) if part)
            cells = [number(values.get(case), digits) for case in (*pairs, "clip")]
            lines.append(_row([one.package, f"`{one.call}`", *cells, text, gap]))
        tables[metric] = "\n".join(lines)
    return tables


def distances_table(packages: Path, folder: Path) -> str:
    """The table of Frechet distances."""
    sets = cases.feature_sets()
    both = {case: cases.exact_frechet(*pair) for case, pair in sets.items()}
    exact = {ddof: {case: values[ddof] for case, values in both.items()} for ddof in (0, 1)}
    head = ["package", "ddof", *sets, "root", "off its exact value by"]
    lines = [_row(head), "|---" * len(head) + "|"]
    for ddof in (1, 0):
        values = [number(value, 4) for value in exact[ddof].values()]
        lines.append(_row(["**exact, 50 digits**", str(ddof), *values, "", ""]))
    found = measured("tried_distances.py", folder / "features.npz", packages)
    for name, one in tried_distances.ALL.items():
        values = found[name]
        gap = off([(values[case], exact[one.ddof][case]) for case in sets], relative=True)
        lines.append(_row([name, str(one.ddof), *(number(values[case], 4) for case in sets), one.root, gap]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Install, measure, and print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/metrics.md")
    parser.add_argument(
        "--packages", type=Path, help="a folder with the packages, instead of a temporary one"
    )
    parser.add_argument("--only", choices=("frames", "distances"), help="a part of the tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages = options.packages or folder / "packages"
        if not packages.is_dir():
            install(packages)
        sys.path.insert(0, str(packages))  # mpmath, for the exact values
        cases.write_cases(folder)
        tables = {}
        if options.only != "distances":
            tables |= frames_tables(packages, folder)
        if options.only != "frames":
            tables["distances"] = distances_table(packages, folder)
    own = [f"{name} {version(name)}" for name in ("torch", "numpy", "scipy")]
    tables["versions"] = ", ".join([*(pin.replace("==", " ") for pin in PINS), *own]) + "."
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
        if options.write:
            write_part(f"metric_conformance.py {name}", table)


if __name__ == "__main__":
    main()
