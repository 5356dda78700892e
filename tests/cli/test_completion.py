"""Shell completion, asked as a shell asks: through the environment, with the answer in a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidjacobi.batch.settings import ENGINES, OUTPUTS
from vidjacobi.cli.completion import KINDS, WORDS
from vidjacobi.config.rollout import RolloutConfig
from vidjacobi.config.yaml_files import config_names
from vidjacobi.datasets import DATASETS
from vidjacobi.datasets.clip_starts import SHORT
from vidjacobi.decoding.compiled import MODES
from vidjacobi.loading import MODELS
from vidjacobi.runtime import DTYPES

CODE = "import sys; from vidjacobi.cli.main import main; sys.exit(main())"


def completions(line: str, folder: Path) -> list[str]:
    """What may stand at the end of a command line."""
    answer = folder / "answer"
    env = {
        **os.environ,
        **{"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
        **{"COMP_LINE": line, "COMP_POINT": str(len(line.encode()))},
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", CODE], env=env, cwd=folder, check=True, capture_output=True)
    return [word.strip() for word in answer.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "wanted", "unwanted"),
    [
        ("vidjacobi ", {"rollout", "eval", "decoders"}, {"fvd", "clip.mp4"}),
        ("vidjacobi ro", {"rollout"}, {"report"}),
        ("vidjacobi eval ", {"fvd", "setup", "lerobot"}, {"auto"}),
        ("vidjacobi bench o", {"overhead"}, {"overwrite="}),
        ("vidjacobi eval fvd --res", {"--resize"}, {"--seed"}),
        ("vidjacobi rollout --dec", {"--decoder"}, {"--device"}),
        ("vidjacobi rollout --decoder pa", {"pathwise"}, {"sjd"}),
        ("vidjacobi rollout --config ", {"default", "cosmos4b"}, {"quick"}),
        ("vidjacobi bench --config ", {"quick", "bars"}, {"cosmos4b"}),
        ("vidjacobi plan --gpu h", {"h100"}, {"a100"}),
        ("vidjacobi rollout cl", {"clip.mp4"}, {"frames="}),
        ("vidjacobi rollout fra", {"frames="}, {"clip.mp4"}),
        ("vidjacobi rollout decoder=pa", {"pathwise", "decoder=pathwise"}, {"decoder=sjd"}),
        ("vidjacobi eval lerobot --decoders sjd,mc", {"sjd,mc_sjd"}, {"mc_sjd"}),
        ("vidjacobi bench --decoders sjd --dtype f", {"float32", "float64"}, {"bfloat16"}),
    ],
)
def test_what_may_follow(line: str, wanted: set[str], unwanted: set[str], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    found = set(completions(line, tmp_path))
    # behind a "=" some shells want the whole word and others what follows
    assert found & wanted == wanted or (len(wanted & found) == 1 and "=" in line)
    assert not found & unwanted


def test_the_words_are_those_of_the_registries() -> None:
    registries = {
        "compile": MODES,
        "dataset": ["auto", *DATASETS],
        "dtype": ["auto", *DTYPES],
        "engine": ENGINES,
        "model": MODELS,
        "models": MODELS,
        "output": OUTPUTS,
        "short": SHORT,
    }
    for key, registry in registries.items():
        assert sorted(WORDS[key].split()) == sorted(registry)
    assert all(config_names(kind) for kind in KINDS.values())
    assert {"decoder", "device", "dtype", "model", "compile", "context_from"} <= {
        *RolloutConfig.__dataclass_fields__
    }
