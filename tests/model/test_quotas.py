"""Quotas: what the stats znode says, and which quota a change counts for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkstore.model import apply, quotas
from zkstore.model.quotas import Quota
from zkstore.model.record import data_of
from zkstore.model.tree import Tree
from zkstore.model.txns import CREATE, DELETE, SET_DATA, CreateTxn, DeleteTxn, SetDataTxn


class Workshop:
    """A tree to which txns are applied one by one."""

    def __init__(self) -> None:
        self.tree = Tree.new()

    def create(self, path: bytes, data: bytes | None = b"") -> None:
        zxid = self.tree.zxid + 1
        apply.apply_segment(self.tree, zxid, [CreateTxn(CREATE, 1, 1, 1000, path, data, None, 0)])

    def set(self, path: bytes, data: bytes | None) -> None:
        zxid, version = self.tree.zxid + 1, self.tree.stat(path).version + 1
        apply.apply_segment(self.tree, zxid, [SetDataTxn(SET_DATA, 1, 1, 1000, path, data, version)])

    def delete(self, path: bytes) -> None:
        apply.apply_segment(self.tree, self.tree.zxid + 1, [DeleteTxn(DELETE, 1, 1, 1000, path)])

    def set_quota(self, path: bytes, limits: bytes) -> None:
        at = quotas.QUOTA_ROOT
        for name in path.split(b"/")[1:]:
            at += b"/" + name
            if at not in self.tree.records:
                self.create(at, None)
        self.create(at + quotas.LIMITS_NAME, limits)
        self.create(at + quotas.STATS_NAME, b"count=0,bytes=0")

    def usage(self, path: bytes) -> bytes | None:
        return data_of(self.tree.records[quotas.QUOTA_ROOT + path + quotas.STATS_NAME])


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        (b"count=10,bytes=-1", Quota(10, -1, -1, -1)),
        (b"count=10,bytes=-1=;byteHardLimit=1000;countHardLimit=20", Quota(10, -1, 20, 1000)),
        (b"count=-1,bytes=5=;byteHardLimit=7", Quota(-1, 5, -1, 7)),
        (b"bytes=,count=3", Quota(3, -1, -1, -1)),
        (b"", Quota()),
        (None, Quota()),
        (b"nonsense", Quota()),
    ],
)
def test_limits_are_read_as_clients_of_all_ages_write_them(text: bytes | None, quota: Quota) -> None:
    assert Quota.parse(text) == quota


def test_a_new_stats_znode_gets_the_real_usage_instead_of_what_was_written() -> None:
    workshop = Workshop()
    workshop.create(b"/app", b"12345")
    workshop.create(b"/app/child", b"123")
    workshop.set_quota(b"/app", b"count=10,bytes=100")
    assert workshop.usage(b"/app") == b"count=2,bytes=8"


def test_changes_below_are_counted_without_a_trace_in_the_stat() -> None:
    workshop = Workshop()
    workshop.create(b"/app", b"12345")
    workshop.set_quota(b"/app", b"count=10,bytes=100")
    before = workshop.tree.stat(b"/zookeeper/quota/app/zookeeper_stats")
    workshop.create(b"/app/a", b"1234567")
    workshop.set(b"/app/a", b"12")
    workshop.create(b"/app/b", None)
    workshop.delete(b"/app/a")
    assert workshop.usage(b"/app") == b"count=2,bytes=5"
    after = workshop.tree.stat(b"/zookeeper/quota/app/zookeeper_stats")
    assert after._replace(data_length=0) == before._replace(data_length=0)


def test_a_sibling_with_the_same_beginning_is_not_counted() -> None:
    workshop = Workshop()
    workshop.create(b"/app")
    workshop.set_quota(b"/app", b"count=10,bytes=100")
    workshop.create(b"/application", b"123")
    assert workshop.usage(b"/app") == b"count=1,bytes=0"


def test_of_nested_quotas_the_deepest_counts() -> None:
    workshop = Workshop()
    workshop.create(b"/a")
    workshop.create(b"/a/b")
    workshop.set_quota(b"/a", b"count=10,bytes=100")
    workshop.set_quota(b"/a/b", b"count=10,bytes=100")
    workshop.create(b"/a/b/c", b"xyz")
    assert workshop.usage(b"/a") == b"count=2,bytes=0"
    assert workshop.usage(b"/a/b") == b"count=2,bytes=3"


def test_without_its_limits_znode_a_quota_is_not_active() -> None:
    workshop = Workshop()
    workshop.create(b"/app")
    workshop.set_quota(b"/app", b"count=10,bytes=100")
    workshop.delete(b"/zookeeper/quota/app/zookeeper_limits")
    workshop.create(b"/app/a", b"x")
    assert workshop.usage(b"/app") == b"count=1,bytes=0"
    assert not workshop.tree.quotas


_NAMES = st.sampled_from([b"/q/a", b"/q/b", b"/q/a/c", b"/x"])


@given(steps=st.lists(st.tuples(_NAMES, st.sampled_from(["create", "set", "delete"]), st.binary(max_size=5))))
def test_usage_is_what_a_count_of_the_subtree_gives_and_survives_a_load(
    steps: list[tuple[bytes, str, bytes]],
) -> None:
    workshop = Workshop()
    tree = workshop.tree
    workshop.create(b"/q")
    workshop.set_quota(b"/q", b"count=1,bytes=1")
    for path, verb, data in steps:
        exists = path in tree.records
        if verb == "create" and not exists and path.rsplit(b"/", 1)[0] in (b"", *tree.records):
            workshop.create(path, data)
        elif verb == "set" and exists:
            workshop.set(path, data)
        elif verb == "delete" and exists and path not in tree.children:
            workshop.delete(path)
    below = [path for path in tree.records if path == b"/q" or path.startswith(b"/q/")]
    size = sum(len(data_of(tree.records[path]) or b"") for path in below)
    assert workshop.usage(b"/q") == b"count=%d,bytes=%d" % (len(below), size)
    loaded = Tree.load(tree.records.items(), tree.sessions, tree.zxid, tree.digest)
    assert loaded.quotas == tree.quotas
    assert loaded.data_bytes == tree.data_bytes
