from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.apache import written
from tests.exchange.apache.servers import Server, shown
from zkstore.errors import DamageError, FormatTooNewError, StorageError
from zkstore.exchange.apache import conversion, layout, recovery
from zkstore.exchange.apache.recovery import Recovery
from zkstore.model.record import stat_of


def recovered(root: Path, up_to: int | None = None, *, ignores_digests: bool = False) -> Recovery:
    return recovery.recover(layout.find(root), lambda _: None, up_to_zxid=up_to, ignores_digests=ignores_digests)


def creates(first: int, count: int) -> list[bytes]:
    """Log entries that create /z<zxid>."""
    return [
        written.body(zxid, written.CREATE, written.create(f"/z{zxid}", b"x" * 20, written.OPEN, zxid & 0xFFFF))
        for zxid in range(first, first + count)
    ]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 40), st.integers(0, 40), st.integers(0, 20), st.booleans())
def test_a_snapshot_taken_while_writes_went_on_becomes_the_exact_tree(
    tmp_path_factory: pytest.TempPathFactory, seed: int, before: int, during: int, after: int, has_digests: bool
) -> None:
    server = Server(seed, digests=has_digests)
    server.run(before + during + after)
    root = tmp_path_factory.mktemp("fuzzy")
    fuzzy = server.snapshot(before, before + during, digest=has_digests)
    split = len(server.bodies) // 2
    files = {f"snapshot.{before:x}": fuzzy}
    for start, bodies in ((0, server.bodies[:split]), (split, server.bodies[split:])):
        if bodies:
            files[f"log.{start + 1:x}"] = written.log(bodies)
    found = recovered(written.place(root, files))
    assert found.zxid == len(server.bodies)
    assert shown(found.tree) == shown(server.trees[-1])
    assert found.tree.sessions == server.trees[-1].sessions
    assert found.tree.wrapped_digest == server.trees[-1].wrapped_digest


def test_the_newest_snapshot_that_is_whole_counts_and_the_others_are_named(tmp_path: Path) -> None:
    whole = written.snapshot()
    root = written.place(
        tmp_path,
        {
            "snapshot.0": whole,
            "snapshot.2": whole[:-3],
            "snapshot.3.gz": gzip.compress(whole)[:-20],
            "log.1": written.log(creates(1, 4)),
        },
    )
    found = recovered(root)
    assert found.snapshot is not None
    assert (found.snapshot.path.name, found.zxid, found.txns) == ("snapshot.0", 4, 4)
    assert [note.split()[0] for note in found.notes] == ["snapshot.3.gz", "snapshot.2"]


def test_nothing_is_imported_where_the_logs_end_before_a_snapshot_that_cannot_be_read(tmp_path: Path) -> None:
    whole = written.snapshot()
    root = written.place(tmp_path, {"snapshot.0": whole, "snapshot.9": b"ZKSN", "log.1": written.log(creates(1, 4))})
    with pytest.raises(StorageError, match=r"snapshot\.9: the file is cut.*end before it, at 0x4.*--up-to 0x4"):
        recovered(root)
    assert recovered(root, 4).zxid == 4


def test_without_any_sound_snapshot_the_newest_one_is_named(tmp_path: Path) -> None:
    root = written.place(tmp_path, {"snapshot.0": b"", "snapshot.5": b"not one"})
    with pytest.raises(StorageError, match=r"none of the snapshots can be read; of the newest, .*snapshot\.5"):
        recovered(root)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_flipped_bit_of_a_snapshot_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    server = Server(5)
    server.run(30)
    content = bytearray(server.snapshot(30, 30))
    at = data.draw(st.integers(0, len(content) - 1).filter(lambda at: not 8 <= at < 16), "at")
    content[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
    root = written.place(tmp_path_factory.mktemp("flipped"), {"snapshot.1e": bytes(content)})
    with pytest.raises(StorageError):
        recovered(root)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 16))
def test_a_log_that_is_cut_anywhere_ends_with_its_last_whole_entry(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    bodies = creates(1, 5)
    ends = [16 + sum(len(written.entry(body)) for body in bodies[:count]) for count in range(6)]
    cut %= ends[-1] + 1
    for padding in (b"", bytes(300)):
        content = written.log(bodies, padding=0)[:cut] + padding
        root = written.place(tmp_path_factory.mktemp("cut"), {"snapshot.0": written.snapshot(), "log.1": content})
        if padding and 0 < cut < 8:
            with pytest.raises(StorageError):  # half a header and zeros behind it: no server leaves that
                recovered(root)
            continue
        found = recovered(root)
        assert found.zxid == sum(end <= cut for end in ends[1:])
        if padding and 8 <= cut < 16:
            continue  # zeros are what the rest of a header is
        if min(abs(cut - end) for end in ends) > 4:  # less may be the zeros that a checksum begins with
            assert found.notes


def test_a_wrong_checksum_amid_a_log_names_file_offset_and_the_last_sound_txn(tmp_path: Path) -> None:
    bodies = creates(1, 5)
    content = bytearray(written.log(bodies))
    third = 16 + sum(len(written.entry(body)) for body in bodies[:2])
    content[third + 60] ^= 1
    root = written.place(tmp_path, {"snapshot.0": written.snapshot(), "log.1": bytes(content)})
    with pytest.raises(
        DamageError, match=rf"log\.1: the checksum .* at byte {third}, behind the txn 0x2\. .*--up-to 0x2"
    ):
        recovered(root)
    found = recovered(root, 2)
    assert (found.zxid, b"/z2" in found.tree.nodes, b"/z3" in found.tree.nodes) == (2, True, False)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([-11, -10, -1, 1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21]),
    st.binary(max_size=60),
    st.integers(0, 60),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_whatever_an_entry_holds_is_applied_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: int, noise: bytes, at: int, session_id: int
) -> None:
    record = written.create_ttl("/ab", b"data", written.OPEN, 1, 5)
    record = record[:at] + noise + record[at + len(noise) :]
    bodies = [*creates(1, 1), written.body(2, kind, record, session_id=session_id)]
    root = written.place(
        tmp_path_factory.mktemp("noise"), {"snapshot.0": written.snapshot(), "log.1": written.log(bodies)}
    )
    try:
        tree = recovered(root).tree
        conversion.settle(tree, 2)
        assert len(list(conversion.records(tree, lambda _: None))) > 3
    except StorageError as error:
        assert "log.1" in str(error) or "children of" in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=9), st.integers(16, 400))
def test_whatever_a_snapshot_holds_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    server = Server(2)
    server.run(20)
    content = server.snapshot(20, 20)[: -13 - 20 - 13]
    at = min(at, len(content))
    content = written.sealed(content[:at] + noise + content[at + len(noise) :])
    root = written.place(tmp_path_factory.mktemp("noise"), {"snapshot.14": content})
    try:
        tree = recovered(root).tree
        conversion.settle(tree, 20)
        assert len(list(conversion.records(tree, lambda _: None))) > 3
    except StorageError as error:
        assert "snapshot.14" in str(error) or "children of" in str(error) or "the ACL of" in str(error)


def test_missing_txns_are_named(tmp_path: Path) -> None:
    files = {"snapshot.0": written.snapshot(), "log.1": written.log(creates(1, 2)), "log.5": written.log(creates(5, 2))}
    with pytest.raises(DamageError, match=r"log\.5: the txns 0x3 to 0x4 are missing before this, at byte 16\..*0x2"):
        recovered(written.place(tmp_path, files))


def test_a_log_that_goes_back_is_refused(tmp_path: Path) -> None:
    bodies = [*creates(1, 3), *creates(2, 1)]
    root = written.place(tmp_path, {"snapshot.0": written.snapshot(), "log.1": written.log(bodies)})
    with pytest.raises(DamageError, match="the txn 0x2 stands behind 0x3"):
        recovered(root)


def test_an_epoch_begins_with_its_first_txn(tmp_path: Path) -> None:
    files = {
        "snapshot.0": written.snapshot(),
        "log.1": written.log(creates(1, 2)),
        "log.300000001": written.log(creates(0x300000001, 2)),
    }
    assert recovered(written.place(tmp_path / "good", files)).zxid == 0x300000002
    files["log.300000001"] = written.log(creates(0x300000002, 2))
    with pytest.raises(DamageError, match="0x300000001 to 0x300000001 are missing"):
        recovered(written.place(tmp_path / "bad", files))


def test_a_request_that_3_9_could_not_read_has_no_zxid_of_its_own(tmp_path: Path) -> None:
    bodies = [*creates(1, 2), written.body(2, written.ERROR, written.i32(-5)), *creates(3, 1)]
    root = written.place(tmp_path, {"snapshot.0": written.snapshot(), "log.1": written.log(bodies)})
    assert recovered(root).zxid == 3


def test_an_unknown_txn_is_refused_as_newer(tmp_path: Path) -> None:
    root = written.place(
        tmp_path, {"snapshot.0": written.snapshot(), "log.1": written.log([written.body(1, 99, b"new")])}
    )
    with pytest.raises(DamageError, match=r"txn 0x1 cannot be read \(a txn of type 99 is not known; a newer"):
        recovered(root)


@pytest.mark.parametrize("name", ["snapshot.0", "log.1"])
def test_a_newer_file_format_is_refused(tmp_path: Path, name: str) -> None:
    files = {"snapshot.0": written.snapshot(), "log.1": written.log(creates(1, 1))}
    files[name] = files[name][:7] + b"\x03" + files[name][8:]
    with pytest.raises(StorageError, match="file format 3; only 2 is known") as caught:
        recovered(written.place(tmp_path, files))
    assert isinstance(caught.value, FormatTooNewError) or name == "snapshot.0"


def test_a_log_without_a_snapshot_must_begin_at_the_beginning(tmp_path: Path) -> None:
    found = recovered(written.place(tmp_path / "3.4", {"log.1": written.log(creates(1, 3))}))
    assert (found.zxid, b"/z3" in found.tree.nodes) == (3, True)
    with pytest.raises(StorageError, match=r"no snapshot.*--log-directory"):
        recovered(written.place(tmp_path / "half", {"log.4": written.log(creates(4, 3))}))


def test_a_digest_that_does_not_fit_is_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    server = Server(3)
    server.run(10)
    bodies = [*server.bodies, written.body(11, written.CREATE_SESSION, written.i32(1), digest=12345)]
    root = written.place(tmp_path, {"snapshot.0": server.snapshot(0, 0), "log.1": written.log(bodies)})
    with pytest.raises(DamageError, match=r"log\.1: the tree's digest is .* 0000000000003039 at zxid 0xb.*--ignore"):
        recovered(root)
    assert recovered(root, ignores_digests=True).zxid == 11
    assert recovered(root, 10).zxid == 10


def test_a_snapshot_may_hold_some_of_the_txn_behind_the_one_that_its_digest_is_of(tmp_path: Path) -> None:
    server = Server(8)
    server.run(12)
    whole = server.snapshot(7, 7)
    nodes = [written.node(p.decode(), *parts) for p, *parts in server._visit(b"", itertools.repeat(8))]
    late = written.snapshot(
        nodes,
        sessions=server.trees[7].sessions,
        acls={-1 - key: acl for key, acl in server.trees[-1].acls.items() if key != -1},
        digest=(7, server.trees[7].wrapped_digest),
    )
    assert late != whole
    files = {"snapshot.7": late, "log.1": written.log(server.bodies)}
    assert shown(recovered(written.place(tmp_path / "good", files)).tree) == shown(server.trees[-1])
    files["log.1"] = written.log(server.bodies[:7])
    with pytest.raises(DamageError, match=r"snapshot\.7: the tree's digest"):
        recovered(written.place(tmp_path / "bad", files))


def test_a_snapshot_that_holds_more_than_the_logs_asks_for_the_log_directory(tmp_path: Path) -> None:
    server = Server(4)
    server.run(20)
    root = written.place(tmp_path, {"snapshot.5": server.snapshot(5, 12), "log.1": written.log(server.bodies[:9])})
    with pytest.raises(
        StorageError, match=r"snapshot\.5: this snapshot holds some of the txns up to 0xc.*0x9.*--log-dir"
    ):
        recovered(root)


def test_up_to_a_zxid_no_snapshot_is_taken_that_holds_more(tmp_path: Path) -> None:
    server = Server(6)
    server.run(20)
    files = {
        "snapshot.0": server.snapshot(0, 0),
        "snapshot.5": server.snapshot(5, 12),
        "log.1": written.log(server.bodies),
    }
    found = recovered(written.place(tmp_path, files), 8)
    assert found.snapshot is not None
    assert found.snapshot.zxid == 0
    assert shown(found.tree) == shown(server.trees[8])
    with pytest.raises(StorageError, match="no snapshot is as old as 0x3"):
        recovered(written.place(tmp_path / "late", {"snapshot.5": files["snapshot.5"]}), 3)


def test_endings_of_every_version_are_read(tmp_path: Path) -> None:
    for name, content in (
        ("3.5", written.snapshot()),
        ("3.6", written.snapshot(digest=(0, 0))),
        ("3.9", written.snapshot(digest=(9, 1371985504), last_zxid=9)),
        ("3.9 without digest", written.snapshot(last_zxid=9)),
    ):
        assert recovered(written.place(tmp_path / name, {"snapshot.9": content})).zxid == 9
    with pytest.raises(StorageError, match="none of the known endings"):
        recovered(written.place(tmp_path / "more", {"snapshot.9": written.snapshot() + b"more"}))


def test_a_directory_of_3_4_becomes_one_of_today(tmp_path: Path) -> None:
    """No digests, no /zookeeper/config, sessions that are closed without naming what goes with them."""
    owner = 0x0100000000000001
    bodies = [
        written.body(0x100000001, written.CREATE_SESSION, written.i32(4000), session_id=owner),
        written.body(
            0x100000002, written.CREATE, written.create("/e", b"", written.OPEN, 1, ephemeral=True), session_id=owner
        ),
        written.body(0x100000003, written.CREATE, written.create("/p", b"", written.OPEN, 2), session_id=owner),
        written.body(0x100000004, written.CLOSE_SESSION, b"", session_id=owner),
    ]
    root = written.place(tmp_path, {"snapshot.0": written.snapshot(), "log.100000001": written.log(bodies)})
    found = recovered(root)
    conversion.settle(found.tree, found.zxid)
    records = dict(conversion.records(found.tree, lambda _: None))
    assert sorted(records) == [b"/", b"/p", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"]
    assert found.tree.sessions == {}
    assert stat_of(records[b"/"]) == (0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0x100000004)
