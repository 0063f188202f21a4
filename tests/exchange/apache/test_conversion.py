from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.apache import written
from tests.exchange.apache.servers import Server, copied, shown
from tests.exchange.held import Held, loaded
from zkstore.errors import DamageError, DirectoryUnusableError
from zkstore.exchange.apache import conversion, layout, snapshot_reader, snapshot_writer
from zkstore.exchange.apache.tree import ApacheTree
from zkstore.model import record as records_
from zkstore.model.acl import READ_ACL
from zkstore.model.tree import Tree
from zkstore.storage.log import Epochs


def base() -> ApacheTree:
    return copied(Server(0).trees[0])


def records_of(tree: ApacheTree) -> dict[bytes, bytes]:
    return dict(conversion.records(copied(tree), lambda _: None))


def test_an_empty_server_becomes_our_empty_tree() -> None:
    tree = base()
    conversion.settle(tree, 0)
    assert records_of(tree) == Tree.new().records


def test_passwords_are_those_that_apache_derives() -> None:
    assert conversion.password_of(0x0100000000000001).hex() == "054cc74a37327db215e702e20c73f005"
    assert len(conversion.password_of(-5)) == 16


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 60))
def test_a_tree_comes_back_from_a_written_snapshot(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    server = Server(seed)
    server.run(count)
    tree = copied(server.trees[-1])
    conversion.settle(tree, count)
    sessions = conversion.sessions(tree)
    ours = loaded(records_of(tree), sessions, count)
    assert Tree.load(ours.records.items(), sessions, count, ours.digest).digest == ours.digest
    out = tmp_path_factory.mktemp("out") / "new"
    wrote = snapshot_writer.write(Held(ours), Epochs(0, 0), out, lambda _: None)
    files = layout.find(out)
    assert (files.current_epoch, files.accepted_epoch, files.logs) == (0, 0, [])
    assert files.snapshots[0] == (count, wrote.snapshot)
    read = snapshot_reader.read(files.snapshots[0], lambda _: None)
    assert shown(read.tree) == shown(tree)
    assert read.tree.sessions == tree.sessions
    assert read.tree.wrapped_digest == wrote.digest
    assert read.digest is None or read.digest == (count, wrote.digest)
    assert (wrote.znodes, wrote.sessions, wrote.strangers) == (len(ours.records), len(sessions), 0)


def test_an_export_has_epochs_that_let_an_ensemble_go_on(tmp_path: Path) -> None:
    tree = loaded(Tree.new().records, {}, 0x500000003)
    snapshot_writer.write(Held(tree), Epochs(7, 4), tmp_path, lambda _: None)
    files = layout.find(tmp_path)
    assert (files.accepted_epoch, files.current_epoch) == (7, 5)
    with pytest.raises(DirectoryUnusableError, match="not empty"):
        snapshot_writer.write(Held(tree), Epochs(7, 4), tmp_path, lambda _: None)


def test_nothing_is_left_of_an_export_that_does_not_fit_its_digest(tmp_path: Path) -> None:
    tree = loaded(Tree.new().records, {}, 3)
    tree.digest += 1
    for out in (tmp_path / "new", tmp_path):
        with pytest.raises(DamageError, match="digest"):
            snapshot_writer.write(Held(tree), Epochs(0, 0), out, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_ephemerals_without_a_session_go_and_their_parents_hear_of_it() -> None:
    tree = base()
    tree.create(3, 1, b"/e", b"", tree.acls[-1], 5, 1)
    settled = conversion.settle(tree, 9)
    assert settled.orphans == [b"/e"]
    assert records_.stat_of(records_of(tree)[b"/"]).pzxid == 9


def test_the_members_of_the_old_ensemble_are_forgotten() -> None:
    tree = base()
    tree.create(3, 1, b"/zookeeper/config", b"server.1=a:1:2;3", READ_ACL, 0, 1)
    settled = conversion.settle(tree, 9)
    assert settled.old_members == b"server.1=a:1:2;3"
    record = records_of(tree)[b"/zookeeper/config"]
    assert (records_.data_of(record), records_.stat_of(record).data_length) == (b"", 0)


def test_what_lies_below_quotas_is_counted_anew() -> None:
    tree = base()
    for zxid, (path, data) in enumerate(
        [
            (b"/app", b"12"),
            (b"/app/a", b"345"),
            (b"/apple", b"no"),
            (b"/zookeeper/quota/app", b""),
            (b"/zookeeper/quota/app/zookeeper_limits", b"count=1,bytes=-1"),
            (b"/zookeeper/quota/app/zookeeper_stats", b"count=9,bytes=9"),
        ],
        1,
    ):
        tree.create(zxid, 1, path, data, tree.acls[-1], 0, zxid)
    conversion.settle(tree, 9)
    record = records_of(tree)[b"/zookeeper/quota/app/zookeeper_stats"]
    assert records_.data_of(record) == b"count=2,bytes=5"
    assert records_.stat_of(record).mzxid == 6


def test_an_acl_that_the_files_do_not_hold_is_damage(tmp_path: Path) -> None:
    content = written.snapshot([*written.RESERVED, written.node("/a", b"", 7)])
    file = layout.find(written.place(tmp_path, {"snapshot.1": content})).snapshots[0]
    tree = snapshot_reader.read(file, lambda _: None).tree
    with pytest.raises(DamageError, match="ACL of b'/a' is number 7"):
        records_of(tree)


def test_a_znode_whose_parent_was_deleted_is_damage() -> None:
    tree = base()
    tree.create(1, 1, b"/a", b"", tree.acls[-1], 0, 1)
    tree.create(2, 1, b"/a/b", b"", tree.acls[-1], 0, 1)
    tree.delete(3, b"/a")
    with pytest.raises(DamageError, match="children of b'/a', which does not exist"):
        records_of(tree)
