"""The numbers of the house that are promised: ``scripts/house_numbers.py`` prints them all."""

from pathlib import Path

from scripts import house_numbers


def test_few_files_stand_at_the_top() -> None:
    found = [path.name for path in house_numbers.at_the_top()]
    assert "__init__.py" in found
    assert len(found) <= 12, f"{found}: move what belongs to a package into it"


def test_comments_are_where_code_is_dense() -> None:
    share = house_numbers.comment_share(house_numbers.sources())
    assert share >= 0.03, f"{share:.1%} of the lines carry a comment: say what a reader cannot see"


def test_a_hash_in_a_string_is_no_comment(tmp_path: Path) -> None:
    file = tmp_path / "five.py"
    file.write_text('a = "# no"\n"""\n# neither\n"""\nb = 1  # one\n')
    assert house_numbers.comment_share([file]) == 1 / 5


def test_one_decode_enters_few_modules() -> None:
    found = house_numbers.one_decode()
    assert "vidjacobi.decoding.step" in found
    assert len(found) <= 20, f"{sorted(found)}: what is asked for rarely is imported, and not called"
