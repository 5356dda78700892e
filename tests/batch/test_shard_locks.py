"""Runs that open one folder: one after the other, and never two on the same episodes."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from vidjacobi.batch.settings import Shard
from vidjacobi.batch.shard_locks import at_work, shards_at_work
from vidjacobi.errors import BadOutput


def test_shards_overlap_where_a_place_belongs_to_both() -> None:
    for one in (Shard(index, count) for count in (1, 2, 3, 4, 6) for index in range(count)):
        for other in (Shard(index, count) for count in (1, 2, 3, 4, 6) for index in range(count)):
            assert one.overlaps(other) == bool(set(one.of(range(24))) & set(other.of(range(24))))


def test_only_runs_of_other_episodes_may_be_at_work(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        with at_work(tmp_path, "0/2", first) as (alone, real):
            assert (alone, real) == (True, True)
        with at_work(tmp_path, "1/2", second) as (alone, _):
            assert not alone
        assert sorted(map(str, shards_at_work(tmp_path))) == ["0/2", "1/2"]
        for shard in ("0/1", "0/2", "2/4"):
            refused = pytest.raises(BadOutput, match=r"another run is at work here \(shard [01]/2\)")
            with refused, ExitStack() as third, at_work(tmp_path, shard, third):
                pass
    assert shards_at_work(tmp_path) == []
    with ExitStack() as again, at_work(tmp_path, "0/1", again) as (alone, _):
        assert alone
