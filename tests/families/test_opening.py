"""Names of models of families: NAME:PATH, where the path is a file, a folder or a repository."""

from pathlib import Path

import pytest

from vidjacobi.cli.main import main
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.opening import (
    FAMILIES,
    HUB_FILES,
    HUB_FOLDERS,
    FamilyName,
    family_name,
    load_family,
)
from vidjacobi.models import hub


def test_a_family_is_named_in_front_of_a_colon() -> None:
    assert family_name("janus:/data/Janus-Pro-1B") == FamilyName("janus", "/data/Janus-Pro-1B")
    assert family_name(r"emu3:C:\models\emu3") == FamilyName("emu3", r"C:\models\emu3")
    for other in (
        "janus",
        "nano",
        "package.janus:load",
        "Janus:folder",
        "nvidia/Cosmos-Predict1-4B",
        "./janus:x",
    ):
        assert family_name(other) is None, other
    for family in FAMILIES:
        with pytest.raises(InvalidArgument, match=f"{family}:FOLDER"):
            family_name(f"{family}:")


def test_another_name_is_refused_with_the_families_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'nano' names no model of a family.*janus:FOLDER.*mineworld"):
        load_family("nano", "cpu")


def test_files_go_before_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def fetch(repository: str, files: tuple[str, ...]) -> Path:
        asked.append((repository, files))
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    assert FamilyName("janus", "owner/name").weights == tmp_path
    assert asked == [("owner/name", HUB_FILES)]
    # of a release with a diffusion model beside, or of policies, no more than what is wanted
    assert FamilyName("glm_image", "owner/name").weights == FamilyName("univla", "owner/name").weights
    assert [files for _, files in asked[1:]] == [HUB_FOLDERS["glm_image"], HUB_FOLDERS["univla"]]
    del asked[1:]
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert FamilyName("janus", "owner/name").weights == Path("owner/name")
    for path in ("./owner/other", "~/other", "/owner/other", "a/b/c", "other"):
        assert FamilyName("janus", path).weights == Path(path).expanduser()
    assert len(asked) == 1


@pytest.mark.parametrize(
    "words",
    [["bench", "--models"], ["eval", "realestate10k", "--data", ".", "--model"], ["curve", "--model"]],
    ids=" ".join,
)
def test_commands_of_clips_say_what_takes_a_family(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is loaded: they have no prompts to give, and curve has no actions."""
    hints = {
        "janus": "`vidjacobi bench pictures` take it, and `vidjacobi eval pictures` judges",
        "univla": "in Python, vidjacobi.load_family",
    }
    if words[0] == "curve":
        hints |= {
            "mineworld": "`vidjacobi rollout` takes it with --actions",
            "pusht": "`vidjacobi batch --actions`, `vidjacobi play`",
        }
    for family, hint in hints.items():
        assert main([*words, f"{family}:{tmp_path}", "--out", str(tmp_path / "out.yaml")]) == 2
        assert hint in capsys.readouterr().err
    assert not (tmp_path / "out.yaml").exists()


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"no checkpoint .*May 2025"):
        load_family(f"mineworld:{tmp_path / 'none'}", "cpu")
    with pytest.raises(InvalidArgument, match="has no option side"):
        load_family(f"mineworld:{tmp_path}", "cpu", side=3)
