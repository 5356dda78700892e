"""``vidjacobi models``: what can be named as ``--model``, what is published of it where, and how it was tested."""

from argparse import ArgumentParser, Namespace
from typing import Any

from vidjacobi.cli import options

TEXT = """List the bundled models and the families of models whose weights others publish.

For each: what it makes, its sizes, where its weights are published and under which licence, what you need beside
them, what greedy tokens were compared with (on small random networks), and how its authors sample.
`--model NAME:PATH` names a family and the folder, file or repository of its weights.
"""

EXAMPLES = """examples:
  vidjacobi models
  vidjacobi models janus llamagen
  vidjacobi models --json | jq .
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("models", TEXT, EXAMPLES)
    made.add_argument("names", nargs="*", metavar="NAME", help="only these (all)")
    made.add_argument("--json", action="store_true", help="print the last line (JSON) only")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Print the list; all of it as one object. Raises InvalidArgument for an unknown name."""
    from dataclasses import asdict

    from vidjacobi.config.model_facts import load_facts, model_names

    found = [load_facts(name) for name in args.names or model_names()]
    if not args.json:
        print("\n\n".join("\n".join(_lines(facts)) for facts in found))
    return {"models": {facts.name: asdict(facts) for facts in found}}


def _lines(facts: Any) -> list[str]:
    shown = [f"{facts.name:10} {facts.title}: {facts.makes} ({facts.kind})"]
    for word in ("sizes", "published", "licence", "needs", "pixels"):
        shown.append(f"{'':10} {word:10} {getattr(facts, word)}")
    tested = "of small random networks" if facts.kind == "family" else "of its weights"
    shown.append(f"{'':10} {'tested':10} greedy tokens {tested} equal those of {facts.reference}")
    for what, preset in facts.presets.items():
        shown.append(f"{'':10} {'sampling':10} {what}: {_numbers(preset)}")
    return shown


def _numbers(preset: Any) -> str:
    words = [f"temperature {preset.temperature:g}", f"top-p {preset.top_p:g}"]
    words += [f"top-k {preset.top_k:,}"] if preset.top_k is not None else []
    words += [f"guidance {preset.guidance:g}"] if preset.guidance is not None else []
    return ", ".join(words)
