"""Odd inputs by the hundred, the same in every run: each must be refused in words or give a right result."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from vidjacobi.errors import VidjacobiError

# What people, programs and other countries write where a number or a name is meant.
ODD_TEXTS = (
    *"0 -1 -0 1 010 0x10 1e3 1e999 1.5 .5 -.5e-400 nan .nan inf -inf NaN Infinity true yes no on null ~ None".split(),  # noqa: SIM905
    *"1:30 1_000 1,5 [1 [] {} ' \" \\ # % &a *a !x | > @ ` ${x} ${oc.env:HOME} ??? ../.. / . nano ar cpu".split(),  # noqa: SIM905
    *("", " ", "[1, 2]", "{a: 1}", "{a: 1, a: 2}", "a: b", "- a", "!!int 1", "? a", "pathwise", "uniform"),
    *(
        "9" * 30,
        "9" * 5000,
        "a" * 5000,
        "[" * 200,
        "{a: " * 200,
        "\u00fcn\u00ef",
        "\u202e",
        "\ufeff",
        "\U0001f600",
    ),
    *("\u0663", "\u00b2", "\uff11", "\t", "\r", "\n", "\x00", "\x1b[2J", "\x85", "\u2028", "\ud800"),
)
odd_texts = st.sampled_from(ODD_TEXTS)
# values that a program may write into JSON, or hand to a function
odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, 5e-324])
    | st.floats()
    | odd_texts
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(odd_texts | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def edited(text: str) -> st.SearchStrategy[str]:
    """A text with a few of its words and lines replaced, removed or doubled."""

    def apply(edits: list[tuple[int, str, str]]) -> str:
        lines = text.split("\n")
        for place, how, odd in edits:
            index = place % len(lines)
            line = lines[index]
            if how == "drop":
                lines[index] = ""
            elif how == "double":
                lines[index] = f"{line}\n{line}"
            elif how == "value" and ":" in line:
                lines[index] = f"{line.partition(':')[0]}: {odd}"
            elif how == "indent":
                lines[index] = f"  {line}"
            else:
                cut = place % (len(line) + 1)
                lines[index] = line[:cut] + odd + line[cut:]
        return "\n".join(lines)

    how = st.sampled_from(["drop", "double", "value", "value", "value", "insert", "indent"])
    return st.lists(st.tuples(st.integers(0, 10**6), how, odd_texts), min_size=1, max_size=3).map(apply)


def changed(value: Any) -> st.SearchStrategy[Any]:
    """JSON like ``value``, in which one thing is another, or is not there."""
    if isinstance(value, dict) and value:
        key = st.sampled_from(sorted(value))
        inner = key.flatmap(lambda key: changed(value[key]).map(lambda new: {**value, key: new}))
        return (
            inner
            | key.map(lambda gone: {key: item for key, item in value.items() if key != gone})
            | odd_values
        )
    if isinstance(value, list) and value:
        place = st.integers(0, len(value) - 1)
        return odd_values | place.flatmap(
            lambda place: changed(value[place]).map(lambda new: [*value[:place], new, *value[place + 1 :]])
        )
    return odd_values


def dumped(value: Any) -> str:
    """JSON as Python writes it, NaN and lone surrogates among it."""
    return json.dumps(value, default=str)


def each(strategy: st.SearchStrategy[Any], examples: int, check: Callable[[Any], None]) -> None:
    """Hand ``examples`` inputs to ``check``, the same ones each time; the smallest that fails is shown."""
    seen = 0

    @seed(17)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(strategy)
    def one(value: Any) -> None:
        nonlocal seen
        seen += 1
        check(value)

    one()
    assert seen >= examples * 0.9, f"only {seen} different inputs of {examples}"


def refused(call: Callable[[], object]) -> bool:
    """Whether a call refuses in words; any other exception passes through, and fails the test."""
    words = None
    try:
        call()
    except VidjacobiError as error:
        words = str(error).strip()
    assert words != "", "a refusal without words"
    return words is not None
