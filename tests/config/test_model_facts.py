"""The one table of models: names, numbers of the authors, and the page that shows it."""

import re
from pathlib import Path

import pytest

from vidjacobi.config.model_facts import guidance_of, load_facts, model_names, preset
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.opening import BUNDLED, FAMILIES
from vidjacobi.families.painters.opening import PAINTERS
from vidjacobi.loading import MODELS
from vidjacobi.rollouts.worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
# guidance, temperature, top-p, top-k, of the scripts that each YAML file names
AUTHORS = {
    ("janus", "image"): (5.0, 1.0, 1.0, None),
    ("emu3", "image"): (3.0, 1.0, 1.0, 2048),
    ("chameleon", "image"): (3.0, 1.0, 1.0, 2000),
    ("nano-image", "class"): (2.0, 1.0, 0.95, None),
    ("llamagen", "class"): (4.0, 1.0, 1.0, 2000),
    ("llamagen", "caption"): (7.5, 1.0, 1.0, 1000),
    ("simplear", "image"): (6.0, 1.0, 1.0, 64_000),
    ("emu3_5", "image"): (5.0, 1.0, 1.0, 5120),
    ("imagegpt", "image"): (None, 1.0, 1.0, None),
    ("glm_image", "image"): (None, 0.9, 0.75, None),
    ("nano-pusht", "world"): (None, 1.0, 0.8, None),
    ("mineworld", "world"): (None, 1.0, 0.8, None),
    ("ivideogpt", "world"): (None, 1.0, 1.0, 100),
}


def test_every_model_has_facts_and_every_fact_a_model() -> None:
    assert set(model_names("family")) == set(FAMILIES) - set(BUNDLED)
    assert set(model_names("bundled")) == set(MODELS) | set(BUNDLED)
    assert set(PAINTERS) <= set(FAMILIES)
    for command, takes in (("image", set(PAINTERS) - set(BUNDLED)), ("rollout", set(WORLDS))):
        assert {name for name in model_names() if load_facts(name).command == command} == takes


@pytest.mark.parametrize("key", AUTHORS, ids="-".join)
def test_presets_are_those_of_the_authors(key: tuple[str, str]) -> None:
    found, sampling = preset(*key), preset(*key).sampling
    assert (found.guidance, sampling.temperature, sampling.top_p, sampling.top_k) == AUTHORS[key]
    assert sampling.seed == 0


def test_guidance_is_the_callers_or_the_authors() -> None:
    assert guidance_of("janus", "image", None) == 5.0
    assert guidance_of("janus", "image", 2.0) == 2.0
    assert guidance_of("glm_image", "image", None) == 1.0


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'janus'"):
        load_facts("januss")
    with pytest.raises(InvalidArgument, match="There are: class, caption"):
        preset("llamagen", "image")


def test_a_file_with_other_keys_is_refused(tmp_path: Path) -> None:
    shipped = {"kind": "family", "title": "x", "makes": "x", "sizes": "x", "published": "x", "licence": "x"}
    shipped |= {"needs": "x", "pixels": "x", "reference": "x"}
    lines = [f"{key}: {value}" for key, value in shipped.items()]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([*lines, "presets: {image: {scale: 2}}"]))
    with pytest.raises(InvalidArgument, match="preset 'image' has no setting scale"):
        load_facts(str(path))
    path.write_text("\n".join([*lines, "price: low"]))
    with pytest.raises(InvalidArgument, match="has no setting price"):
        load_facts(str(path))
    path.write_text("\n".join([*lines, "presets: {image: {guidance: high}}"]))
    with pytest.raises(InvalidArgument, match="guidance must be a finite number"):
        load_facts(str(path))


def test_the_page_shows_the_table() -> None:
    """Name, title, where it is published and what it was compared with, of every family, and no other row."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `\w+` \|", line)
    ]
    shown = {row[0].strip("`"): (row[1], row[3], row[4]) for row in rows}
    wanted = {
        name: (facts.title, facts.published, facts.reference)
        for name, facts in ((name, load_facts(name)) for name in model_names("family"))
    }
    assert shown == wanted
    assert len(rows) == len(shown)
