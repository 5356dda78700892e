"""Decoder configurations: the shipped ones, overrides, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.config.decoder import GUARANTEES, load_decoder, with_window
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import METHODS, strategies_of
from vidjacobi.decoding.strategies.verifiers import VERIFIERS
from vidjacobi.errors import InvalidArgument

DECODERS = config_names("decoder")


def test_the_documented_decoders_are_shipped() -> None:
    exact = {"ar", "jacobi", "sjd", "mc_sjd", "gs_sjd", "alpha", "sjd_pac", "pathwise", "fast"}
    lossy = {"sjdpp", "gsd", "pjd", "zipar", "diagonal", "pjd_temporal"}
    assert exact | lossy <= set(DECODERS)
    assert {name for name in exact | lossy if load_decoder(name).guarantee == "lossy"} == lossy


@pytest.mark.parametrize("name", DECODERS)
def test_a_shipped_decoder_loads_and_proves_its_guarantee(name: str) -> None:
    config = load_decoder(name)
    assert config.name == name
    assert config.guarantee in GUARANTEES
    assert config.method in METHODS
    assert config.window >= 1
    assert config.paper
    assert config.summary
    parts = strategies_of(config)
    assert (parts is None) == (config.method == "autoregressive")
    if parts:
        assert parts.guarantee == config.guarantee


@pytest.mark.parametrize("name", [name for name in DECODERS if load_decoder(name).method == "jacobi"])
def test_a_label_that_the_parts_do_not_prove_is_refused(name: str) -> None:
    """In both directions: a lossy decoder cannot claim to be lossless, nor a lossless one to be identical."""
    config = load_decoder(name)
    for guarantee in GUARANTEES:
        if guarantee == config.guarantee:
            continue
        with pytest.raises(
            InvalidArgument, match=f"says guarantee: {guarantee}, but its parts are {config.guarantee}"
        ):
            strategies_of(replace(config, guarantee=guarantee))


@pytest.mark.parametrize(
    ("changed", "guarantee"),
    [
        ({}, "lossless"),
        ({"coupling": {"name": "reuse"}}, "lossy"),
        ({"verifier": {"name": "grouped"}}, "lossy"),
        ({"verifier": {"name": "pathwise"}}, "identical"),
        (
            {"verifier": {"name": "pathwise"}, "coupling": {"name": "reuse"}},
            "identical",
        ),  # it asks nothing of the drafts
        # The default lane rule opens a row only when all of the row above is known, as AR would have it.
        ({"lanes": {"name": "rows"}}, "lossless"),
        ({"lanes": {"name": "rows", "context": 1}}, "lossy"),
        ({"lanes": {"name": "rows", "frames": 0}}, "lossy"),
        ({"lanes": {"name": "rows", "context": 1}, "verifier": {"name": "pathwise"}}, "lossy"),
        ({"draft_tree": {"depth": 2, "width": 2}}, "lossless"),
        ({"draft_tree": {"depth": 2, "width": 2}, "coupling": {"name": "reuse"}}, "lossy"),
    ],
    ids=str,
)
def test_what_parts_prove_together(changed: dict[str, Any], guarantee: str) -> None:
    config = replace(load_decoder("mc_sjd"), guarantee=guarantee, **changed)
    parts = strategies_of(config)
    assert parts
    assert parts.guarantee == guarantee


def test_overrides() -> None:
    config = load_decoder("alpha", {"coupling.alpha": 0.25, "window": 8, "draft": {"name": "left"}})
    assert config.coupling == {"name": "mixture", "alpha": 0.25, "of": "maximal"}
    assert config.window == 8
    assert config.draft == {"name": "left"}
    assert load_decoder("alpha").window == 64


def test_with_window() -> None:
    config = load_decoder("sjd")
    assert with_window(config, None) is config
    assert with_window(config, 5).window == 5


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "guarantee: lossless\npaper: mine\nsummary: mine\nmethod: jacobi\nwindow: 3\n"
        "draft: {name: above}\ncoupling: {name: gumbel}\nverifier: {name: rejection_sampling}\n"
    )
    config = load_decoder(str(path))
    assert (config.name, config.window) == ("mine", 3)
    assert strategies_of(config)


def test_unknown_decoders() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown decoder 'patwise' \(did you mean 'pathwise'"):
        load_decoder("patwise")
    with pytest.raises(InvalidArgument, match=r"no decoder file .*gone\.yaml"):
        load_decoder("gone.yaml")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"windw": 3}, "no setting 'windw' (did you mean 'window'"),
        ({"name": "x"}, "no setting 'name'"),  # the name is the file's and cannot be set
        ({"window": "wide"}, "window must be a whole number"),
        ({"window": 1.5}, "window must be a whole number"),
        ({"window": None}, "window must be a whole number"),
        ({"window": True}, "window must be a whole number"),
        ({"temperature": "hot"}, "temperature must be a finite number"),
        ({"guarantee": "losless"}, "did you mean 'lossless'"),
        ({"coupling": None}, "needs draft, coupling and verifier"),
        ({"draft": "uniform"}, "draft must be keys and values"),
        ({"draft": ["uniform"]}, "draft must be keys and values"),
        ({"draft": {"keep": 3}, "draft.name": None}, "unknown draft rule"),
        ({"draft_tree.depth.x": 3}, "depth is 6, which has no settings of its own"),
        ({"draft_tree.depth.x.y": 3}, "depth is 6, which has no settings of its own"),
        ({"draft_tree..depth": 3}, "a key is empty"),
        (
            {"draft.name": "previous_frame_prob"},
            "unknown draft rule 'previous_frame_prob' (did you mean 'previous_frame_probs'",
        ),
        ({"draft.kep": 3}, "kep"),
        ({"draft.keep": 0}, "keep must be"),
        ({"coupling.name": "gumball"}, "did you mean 'gumbel'"),
        ({"verifier.name": "pathwide"}, "did you mean 'pathwise'"),
        ({"coupling": {"name": "mixture", "alpha": 2.0}}, "alpha must lie"),
        ({"guarantee": "lossless"}, "says guarantee: lossless, but its parts are identical"),
    ],
)
def test_bad_settings_are_refused(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        strategies_of(load_decoder("pathwise", overrides))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list", "guarantee: [", "guarantee: identical"])
def test_files_that_are_no_decoder(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="odd"):
        load_decoder(str(path))


def test_every_verifier_has_a_known_guarantee() -> None:
    assert {entry().guarantee for entry in VERIFIERS.values()} <= set(GUARANTEES)
