"""Configurations, settings and flags that nobody meant: refused in words, or records that can be used."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pytest
from fuzzing import each, edited, odd_texts, odd_values, refused
from hypothesis import strategies as st

from vidjacobi.batch.settings import BatchConfig, load_plan
from vidjacobi.bench.settings import BenchConfig, load_bench
from vidjacobi.cli.main import COMMANDS
from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.config.rollout import RolloutConfig, load_rollout
from vidjacobi.config.yaml_files import config_names, parse_yaml
from vidjacobi.decoding.api import strategies_of
from vidjacobi.estimate.pass_seconds import load_gpu
from vidjacobi.eval.settings import EvalConfig, load_eval

pytestmark = [pytest.mark.slow, pytest.mark.unchecked]  # where a type checker would refuse first


def loaded_decoder(name: str) -> DecoderConfig:
    config = load_decoder(name)
    strategies_of(config)
    return config


LOADERS: dict[str, Callable[[str], Any]] = {
    "rollout": lambda name: load_rollout(name, {}, []),
    "batch": lambda name: asdict(load_plan(name, {"data": "x"})),
    "bench": lambda name: load_bench(name, {}),
    "eval": lambda name: load_eval(name, {"data": "x"}),
    "decoder": loaded_decoder,
    "gpu": load_gpu,
}


def texts_of(kind: str) -> list[str]:
    folder = resources.files("vidjacobi") / "configs" / kind
    return [(folder / f"{name}.yaml").read_text() for name in config_names(kind)]


@pytest.mark.parametrize("kind", LOADERS)
def test_configurations(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"

    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        refused(lambda: LOADERS[kind](str(path)))

    each(st.sampled_from(texts_of(kind)).flatmap(edited), 150, check)


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("rollout", RolloutConfig),
        ("batch", BatchConfig),
        ("bench", BenchConfig),
        ("eval", EvalConfig),
        ("decoder", DecoderConfig),
    ],
)
def test_values_of_other_types(kind: str, schema: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    keys = st.sampled_from([*schema.__dataclass_fields__])
    whole = parse_yaml(texts_of(kind)[-1], kind)

    def check(values: dict[str, Any]) -> None:
        path.write_text(json.dumps({**whole, **values}), encoding="utf-8")  # JSON is YAML
        refused(lambda: LOADERS[kind](str(path)))

    each(st.dictionaries(keys, odd_values, min_size=1, max_size=2), 120, check)


def test_bytes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        refused(lambda: loaded_decoder(str(path)))

    each(st.binary(max_size=60), 150, check)


def test_pairs() -> None:
    parts = ("draft", "coupling", "verifier", "lanes", "draft_tree")
    options = (
        "name",
        "keep",
        "alpha",
        "of",
        "size",
        "depth",
        "width",
        "share",
        "sizes",
        "curve",
        "context",
        "x",
        "",
    )
    inner = st.one_of(
        st.builds(
            lambda part, option: f"decoder.{part}.{option}", st.sampled_from(parts), st.sampled_from(options)
        ),
        st.sampled_from(
            [f"decoder.{key}" for key in (*DecoderConfig.__dataclass_fields__, "", ".", "draft..keep")]
        ),
    )
    key = st.sampled_from([*RolloutConfig.__dataclass_fields__]) | inner | odd_texts
    pair = st.builds(lambda key, text: f"{key}={text}", key, odd_texts | odd_values.map(repr))

    def check(pairs: list[str]) -> None:
        def load() -> None:
            config, decoder = load_rollout("default", {}, pairs)
            strategies_of(decoder)
            json.dumps([asdict(config), asdict(decoder)], allow_nan=False)

        refused(load)

    each(st.lists(pair, min_size=1, max_size=2), 500, check)


def test_flags() -> None:
    parsers = {name: import_module(module).parser() for name, (module, _) in COMMANDS.items()}

    def words_of(parser: ArgumentParser) -> st.SearchStrategy[list[str]]:
        flags = [flag for flag in parser._option_string_actions if flag not in ("-h", "--help")]
        return st.lists(st.sampled_from([*flags, "--no-such-flag"]) | odd_texts, max_size=4)

    def check(case: tuple[str, list[str]]) -> None:
        refused(lambda: parsers[case[0]].parse_intermixed_args(case[1]))

    names = st.sampled_from([*parsers])
    each(names.flatmap(lambda name: st.tuples(st.just(name), words_of(parsers[name]))), 300, check)
