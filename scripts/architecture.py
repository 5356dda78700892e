"""Write docs/architecture.md: the tree of the packages, a line a module, from their docstrings.

python scripts/architecture.py            # print the page
python scripts/architecture.py --write    # write it; a test compares it with the tree
"""

import argparse
import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("vidjacobi", "cosmos_adapter", "eval", "scripts")
LINKS = ("vidjacobi/eval", "vidjacobi/configs")  # to the folders of the same name at the top
HEAD = """# Architecture

After reading this page you can find the file in which an idea lives. It is made from the docstrings by
`python scripts/architecture.py --write`, and a test compares it with the tree.

The way through one rollout: `cli/rollout.py` reads settings (`config/`) and the clip (`video/`), `rollouts/chunks.py`
encodes the context (`models/codec.py`), `decoding/api.py` decides tokens pass after pass (`decoding/jacobi.py` is the
loop, `decoding/step.py` one pass), and `rollouts/files.py` writes the video and the numbers. Imports point down only:
the layers are in `tests/house/test_layers.py`.

| you look for | it is in |
|---|---|
| where a draft is accepted | `Maximal` in `vidjacobi/decoding/strategies/couplings.py`: u q(x) < p(x) |
| where the default, `pathwise`, accepts one | `Gumbel` in the same file: the draft is argmax(log p + G) |
| which slots become final | `accept_prefix` in `vidjacobi/decoding/strategies/verifiers.py` |
| one pass, from draft to commit | `vidjacobi/decoding/step.py` |
| how noise is keyed | `vidjacobi/sampling/noise.py` |
| where the attention mask is made | `attention_mask` in `vidjacobi/decoding/draft.py` |
| temperature, top-k, top-p | `vidjacobi/sampling/probs.py` (the definition), `sampler.py` (as it runs) |
| what `fast` is made of | `configs/decoder/fast.yaml` |
| what a model must offer | `vidjacobi/models/protocol.py`; [your model](your_model.md) |
| where arguments and a model's logits are checked | `vidjacobi/kinds.py` |
| how a dataset is added | `DATASETS` in `vidjacobi/datasets/opening.py`; [contributing](contributing.md) |
| what NFE and acceptance length mean | `vidjacobi/decoding/state.py` (glossary), `trace.py` (numbers) |
"""


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    # a | would end the cell of the table
    return text.partition("\n")[0].replace("``", "`").replace("|", "\\|")


def folders() -> list[Path]:
    """Every folder of code, from the top down."""
    # ``rglob`` finds the links' files too, which are the same folders under other names.
    found = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    return sorted(folder for folder in found if not folder.relative_to(ROOT).as_posix().startswith(LINKS))


def page() -> str:
    """The page in Markdown."""
    parts = [HEAD]
    for folder in folders():
        name, start = folder.relative_to(ROOT).as_posix(), folder / "__init__.py"
        parts.append(f"\n## {name}\n")
        if start.is_file() and summary(start):
            parts.append(f"{summary(start)}\n")
        modules = [path for path in sorted(folder.glob("*.py")) if path != start]
        if modules:
            parts.append("| file | what |\n|---|---|")
            parts += [f"| `{path.name}` | {summary(path)} |" for path in modules]
            parts.append("")
    return "\n".join(parts).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"


def main() -> None:
    """Print the page or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
