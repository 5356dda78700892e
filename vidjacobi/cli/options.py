"""The parser that every command uses."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter


def new_parser(name: str, description: str, examples: str = "") -> ArgumentParser:
    """A parser that keeps its texts' line breaks."""
    return ArgumentParser(
        f"vidjacobi {name}",
        description=description,
        epilog=examples,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
