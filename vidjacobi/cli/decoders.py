"""``vidjacobi decoders``: what there is, what each one guarantees, and where it is from."""

from argparse import ArgumentParser, Namespace
from typing import Any

from vidjacobi.cli import options


def parser() -> ArgumentParser:
    """No arguments."""
    return options.new_parser(
        "decoders", "List the decoders, what each one guarantees, and where it is from."
    )


def run(args: Namespace) -> dict[str, Any]:
    """Print the list, the strongest guarantee first; the guarantee of each decoder."""
    from vidjacobi.config.decoder import GUARANTEES, load_decoder
    from vidjacobi.config.yaml_files import config_names

    strength = list(GUARANTEES)  # identical, lossless, lossy
    configs = [load_decoder(name) for name in config_names("decoder")]
    for config in sorted(configs, key=lambda one: (strength.index(one.guarantee), one.name)):
        print(f"{config.name:12} {config.guarantee:9} {config.summary}\n{'':22} {config.paper}")
    print("\n" + "\n".join(f"{name:9} {meaning}" for name, meaning in GUARANTEES.items()))
    return {"decoders": {config.name: config.guarantee for config in configs}}
