"""Flags, key=value and YAML files: read alike, bounded alike, and refused where they contradict each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.batch.settings import load_plan
from vidjacobi.bench.settings import cases_of, load_bench
from vidjacobi.cli import options
from vidjacobi.cli.rollout import parser
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.rollout import RolloutConfig, load_rollout
from vidjacobi.config.settings import BOUNDS
from vidjacobi.config.yaml_files import LONGEST, parse_yaml, read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.eval.settings import load_eval


def by_flag(flag: str, text: str) -> RolloutConfig:
    """As the command reads ``--flag text``."""
    args = parser().parse_intermixed_args([f"--{flag}", text])
    return load_rollout(args.config, vars(args), [])[0]


def by_pair(key: str, text: str) -> RolloutConfig:
    """As the command reads ``key=text``."""
    return load_rollout("default", {}, [f"{key}={text}"])[0]


def by_file(key: str, text: str, folder: Path) -> RolloutConfig:
    """As the command reads a file with ``key: text``."""
    path = folder / "mine.yaml"
    path.write_text(f"{key}: {text}\n")
    return load_rollout(str(path), {}, [])[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("+7", 7), ("0009", 9)],
)
def test_a_whole_number_reads_alike_everywhere(text: str, value: int, tmp_path: Path) -> None:
    """YAML 1.1 read 010 as eight, and 0009 as text."""
    assert by_flag("seed", text).seed == value
    assert by_pair("seed", text).seed == value
    assert by_file("seed", text, tmp_path).seed == value


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "1.0",
        "1:30",
        "1_000",
        "yes",
        "true",
        "null",
        "[1",
        "[1]",
        "{a: 1}",
        "ten",
        "",
        "9e29",
        "inf",
        ".nan",
    ],
)
def test_what_is_no_whole_number_is_none_anywhere(text: str, tmp_path: Path) -> None:
    """YAML 1.1 read 1:30 as ninety, 1_000 as a thousand and yes as true."""
    with pytest.raises(InvalidArgument, match="must be a whole number"):
        by_flag("seed", text)
    for read in (by_pair, lambda key, text: by_file(key, text, tmp_path)):
        with pytest.raises(InvalidArgument, match=r"seed|mine\.yaml"):
            read("seed", text)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-1", 0.1), (".5", 0.5), ("1", 1.0), ("0.50", 0.5), ("5E-1", 0.5)]
)
def test_a_number_reads_alike_everywhere(text: str, value: float, tmp_path: Path) -> None:
    assert by_flag("top-p", text).top_p == value
    assert by_pair("top_p", text).top_p == value
    assert by_file("top_p", text, tmp_path).top_p == value


@pytest.mark.parametrize("text", ["nan", "inf", ".inf", "1e999", "yes", "1:30", "1_0"])
def test_what_is_no_number_is_none_anywhere(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"must be a .*number|must be at most"):
        by_flag("temperature", text)
    for read in (by_pair, lambda key, text: by_file(key, text, tmp_path)):
        with pytest.raises(InvalidArgument, match=r"must be a finite number|beyond every number"):
            read("temperature", text)


@pytest.mark.parametrize("text", ["010", "yes", "1e3", "a: b", "[x"])
def test_a_text_reads_alike_as_flag_and_pair(text: str) -> None:
    assert by_flag("model", text).model == by_pair("model", text).model == text


@pytest.mark.parametrize("read", [by_flag, by_pair])
def test_nothing_is_filled_in(read: Callable[[str, str], RolloutConfig]) -> None:
    with pytest.raises(InvalidArgument, match="nothing is filled in"):
        read("model", "${oc.env:HOME}")


@pytest.mark.parametrize("text", ["010", "true", "1.5", "[a]"])
def test_a_text_in_a_file_that_yaml_reads_as_something_else_needs_quotes(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="model must be text"):
        by_file("model", text, tmp_path)
    assert by_file("model", f"'{text}'", tmp_path).model == text


@pytest.mark.parametrize(
    ("flags", "pairs", "words"),
    [
        ({"frames": 8}, ["frames=16"], "frames is given twice, as 8 and as 16"),
        ({}, ["frames=8", "frames=16"], "frames is given twice"),
        ({}, ["decoder.draft.keep=8", "decoder.draft.keep=9"], "draft.keep is given twice"),
        ({"decoder": "fast"}, ["decoder=sjd"], "decoder is given twice, as 'fast' and as 'sjd'"),
        ({"window": 8}, ["decoder.window=16"], "window is given twice, as 8 and as 16"),
        ({"temperature": 0.5}, ["decoder.temperature=0.7"], "temperature is given twice"),
        ({"decoder": "ar", "window": 64}, [], "'ar' decides one token per pass: leave its window out"),
        ({"decoder": "ar"}, ["window=64"], "leave its window out"),
        ({"decoder": "ar"}, ["decoder.window=64"], "leave its window out"),
        ({"decoder": "ar"}, ["decoder.lanes.name=rows"], "without parts"),
        ({"decoder": "ar"}, ["decoder.draft_tree.depth=2"], "without parts"),
        ({"decoder": "pathwise"}, ["decoder.method=autoregressive"], "without parts"),
        ({}, ["frames"], "key=value"),
        ({}, ["frames="], "has no value"),
        ({}, ["seed=[1"], "seed=\\[1, line 1"),
        ({}, ["framez=1"], "did you mean 'frames'"),
    ],
)
@pytest.mark.parametrize("load", [load_rollout, load_plan])
def test_words_that_contradict_each_other(
    load: Any, flags: dict[str, Any], pairs: list[str], words: str
) -> None:
    more = {"data": "x"} if load is load_plan else {}
    with pytest.raises(InvalidArgument, match=words):
        load("default", {**flags, **more}, pairs)


def test_what_says_the_same_twice_is_no_contradiction() -> None:
    config, decoder = load_rollout("default", {"frames": 8, "window": 16}, ["frames=8", "decoder.window=16"])
    assert (config.frames, decoder.window) == (8, 16)


def test_the_command_line_goes_before_the_file() -> None:
    """The window of cosmos4b.yaml is one for pathwise."""
    assert load_rollout("cosmos4b", {}, [])[1].window == 128
    assert load_rollout("cosmos4b", {}, ["decoder.window=64"])[1].window == 64
    assert load_rollout("cosmos4b", {"decoder": "ar"}, [])[1].window == 1
    assert load_rollout("cosmos4b", {}, ["decoder.temperature=0.5"])[0].temperature is None


def test_every_command_with_a_configuration_takes_pairs() -> None:
    assert load_plan("default", {"data": "x"}, ["rows=2", "decoder.draft.keep=64"]).config.rows == 2
    assert load_bench("quick", {}, ["windows=[8, 16]"]).windows == [8, 16]
    assert load_eval("quick", {"data": "x"}, ["seed=010"]).seed == 10
    for load in (load_bench, load_eval):
        with pytest.raises(InvalidArgument, match="clips is given twice"):
            load("quick", {"data": "x", "clips": 4}, ["clips=5"])


def test_a_flag_that_is_given_twice_is_told(capsys: pytest.CaptureFixture) -> None:
    args = parser().parse_intermixed_args(["--frames", "8", "--frames", "16"])
    assert args.frames == 16
    assert "--frames is given twice, the last one counts: 16" in capsys.readouterr().err


@pytest.mark.parametrize("key", [*BOUNDS])
def test_numbers_are_bounded_as_flags(key: str) -> None:
    for value, words in zip((BOUNDS[key][0] - 1, BOUNDS[key][1] + 1), ("at least", "at most"), strict=True):
        made = options.new_parser("test", "")
        made.add_argument("--" + key, type=options.number if isinstance(value, float) else options.whole)
        with pytest.raises(InvalidArgument, match=f"{key} must be {words}"):
            made.parse_args(["--" + key, str(value)])


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("limit=9e29", "limit must be a whole number"),
        ("limit=" + "9" * 30, "limit must be at most"),
        ("seconds=inf", "seconds must be a finite number"),
        ("seconds=1e9", "seconds must be at most"),
        ("gpus=.nan", "gpus must be a finite number"),
        ("workers=100000", "workers must be at most"),
        ("window=0", "window must be at least 1"),
    ],
)
def test_numbers_are_bounded_as_pairs(pair: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        load_plan("default", {"data": "x"}, [pair])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nframes: 8\nseed: 2", "line 3: the key 'seed' is there twice"),
        ("a: {b: 1, b: 2}", "line 1: the key 'b' is there twice"),
        ("seed: [1", "line 1"),
        ("seed: 1\n frames: 2", "line 2"),
        ("- seed\n- frames", "expected keys and values"),
        ("just words", "expected keys and values"),
        ("model: !!python/object/apply:os.system [ls]", "tags are not read"),
        ("model: !mine nano", "tags are not read"),
        ("seed: !!int '1:30'", "tags are not read"),
        ("a: &x 1\nb: *x", "anchors and aliases are not read"),
        ("? [a, b]\n: 1", "a key must be text"),
        ("1: 2", "a key must be text, not 1"),
        ("true: 2", "a key must be text"),
        ("a: " + "[" * 30000, "lists and mappings in one another"),
        ("a: 1\n---\nb: 2", "document"),
        ("%YAML 1.1\n---\nseed: 010\nseed: 1", "there twice"),
        ('model: "\\0"', "no text can hold"),
        ('model: "\\ud800"', "no text can hold"),
        ('model: "\\UFFFFFFFF"', "an escape that is no character"),
        ("model: a\x00b", "special characters"),
        ("model: ${oc.env:HOME}", "nothing is filled in"),
        ("seed: 1e999", "beyond every number"),
    ],
    ids=lambda text: text[:20],
)
def test_files_that_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=r"odd\.yaml") as caught:
        load_rollout(str(path), {}, [])
    assert words in str(caught.value)


def test_bytes_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    for content, words in (
        ("model: ü".encode("latin-1"), "not UTF-8"),
        ("model: nano".encode("utf-16"), "not UTF-8"),
        (b"a: 1\n" * (LONGEST // 5 + 1), "longer than"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match=words):
            read_config("rollout", str(path))
    for name in (tmp_path, Path("x" * 5000), tmp_path / "gone"):
        with pytest.raises(InvalidArgument, match=r"no rollout file|cannot be read"):
            read_config("rollout", f"{name}.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\nframes: 8\r\n")
    config, _ = load_rollout(str(path), {}, [])
    assert (config.seed, config.frames) == (3, 8)


@pytest.mark.parametrize("where", ["summary", "paper", "draft.name", "lanes.curve"])
def test_nothing_of_the_environment_gets_into_a_decoder(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder file from elsewhere must not copy a secret into rollout.json."""
    monkeypatch.setenv("A_SECRET", "hunter2")
    path = tmp_path / "mine.yaml"
    values = {"summary": "s", "paper": "p", "draft.name": "uniform", "lanes.curve": "nano_cpu"}
    values[where] = "${oc.env:A_SECRET}"
    path.write_text(
        f"guarantee: identical\nmethod: jacobi\nsummary: '{values['summary']}'\npaper: '{values['paper']}'\n"
        f"draft: {{name: '{values['draft.name']}'}}\ncoupling: {{name: gumbel}}\nverifier: {{name: pathwise}}\n"
        f"lanes: {{name: adaptive, curve: '{values['lanes.curve']}'}}\n"
    )
    with pytest.raises(InvalidArgument, match="nothing is filled in") as caught:
        load_decoder(str(path))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="nothing is filled in"):
        load_rollout("default", {}, ["decoder.draft.name=${oc.env:A_SECRET}"])


def test_the_core_schema() -> None:
    text = "[~, null, true, False, yes, off, 012, 0o12, 1.5, 1e2, 1_0, 1:30, 2024-01-01, '1', .inf, '', <<]"
    assert parse_yaml(text, "test") == [
        *(None, None, True, False, "yes", "off", 12, 10, 1.5, 100.0),
        *("1_0", "1:30", "2024-01-01", "1", ".inf", "", "<<"),
    ]


def test_ar_runs_beside_decoders_with_windows() -> None:
    """It has none, so the windows of a bench are not for it; one of its own is refused."""
    cases = cases_of(load_bench("quick", {"decoders": ["ar", "sjd"], "windows": [16, 32]}))
    assert [case.key for case in cases] == [("sjd", 16), ("sjd", 32)]
    with pytest.raises(InvalidArgument, match="leave its window out"):
        load_bench("quick", {"decoders": [{"name": "ar", "window": 16}]})


def test_a_decoder_file_that_lacks_settings_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("window: 8\n")
    with pytest.raises(InvalidArgument, match=r"decoder 'mine' lacks guarantee, paper, summary, method; see"):
        load_decoder(str(tmp_path / "mine.yaml"))
