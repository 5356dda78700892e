"""Shards."""

import pytest

from vidjacobi.batch.settings import Shard, parse_shard
from vidjacobi.errors import InvalidArgument


def test_shards_share_everything_once() -> None:
    parts = [list(Shard(index, 3).of(range(10))) for index in range(3)]
    assert parts == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_workers_share_a_shard_once() -> None:
    shard = Shard(1, 3)
    parts = [list(shard.part(worker, 2).of(range(20))) for worker in range(2)]
    assert sorted(parts[0] + parts[1]) == list(shard.of(range(20)))
    assert not set(parts[0]) & set(parts[1])


def test_shards_are_read() -> None:
    assert parse_shard("2/8") == Shard(2, 8)
    for bad in ("8/8", "-1/2", "1", "a/b", "0/0", "1/2/3"):
        with pytest.raises(InvalidArgument, match="i/n"):
            parse_shard(bad)
