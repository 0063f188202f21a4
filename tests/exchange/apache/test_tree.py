from __future__ import annotations

from tests.exchange.apache import written
from zkstore.exchange.apache import txns
from zkstore.exchange.apache.tree import ApacheTree, node_digest

SESSION = 0x0100000000000001


def empty() -> ApacheTree:
    tree = ApacheTree()
    for path in (b"", b"/zookeeper", b"/zookeeper/quota"):
        tree.load(path, bytes(4) + b"\xff" * 8 + bytes(60))
    return tree


def applied(tree: ApacheTree, body: bytes) -> int | None:
    return txns.apply(tree, txns.header_of(body), body)


def test_the_digest_of_an_empty_tree_is_the_one_that_every_server_logs() -> None:
    assert empty().wrapped_digest == 1371985504


def test_what_lies_below_zookeeper_does_not_count() -> None:
    assert node_digest(b"/zookeeper/quota", bytes(4) + b"\xff" * 8 + bytes(60)) == 0


def test_a_create_gives_the_digest_that_its_entry_names() -> None:
    tree = empty()
    body = bytes.fromhex(
        "0100000000000001 00000001 0000000100000002 0000018bcfe56800 00000001"
        "00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00 00000001"
        "00000002 000000015d492c56"
    )
    assert applied(tree, body) == 0x15D492C56 == tree.wrapped_digest


def test_a_create_of_a_znode_that_exists_changes_its_acl_and_raises_its_parent() -> None:
    tree = empty()
    applied(tree, written.body(5, written.CREATE, written.create("/a", b"old", written.OPEN, 1)))
    before = tree.nodes[b"/a"]
    applied(tree, written.body(9, written.CREATE, written.create("/a", b"new", [(1, "world", "anyone")], 3)))
    assert tree.nodes[b"/a"][:7] == before[:7]
    assert tree.nodes[b"/a"][-60:] == before[-60:]
    assert tree.acls[int.from_bytes(tree.nodes[b"/a"][-68:-60], "big", signed=True)] == ((1, "world", "anyone"),)
    assert tree.nodes[b""][-24:-20] == (3).to_bytes(4, "big")
    assert tree.nodes[b""][-8:] == (9).to_bytes(8, "big")


def test_a_parent_is_never_set_back() -> None:
    tree = empty()
    applied(tree, written.body(9, written.CREATE, written.create("/b", b"", written.OPEN, 7)))
    root = tree.nodes[b""]
    applied(tree, written.body(5, written.CREATE2, written.create("/a", b"", written.OPEN, 2)))
    applied(tree, written.body(6, written.DELETE, written.delete("/a")))
    assert tree.nodes[b""] == root


def test_a_delete_of_what_is_gone_already_tells_the_parent() -> None:
    tree = empty()
    applied(tree, written.body(9, written.DELETE, written.delete("/gone")))
    assert tree.nodes[b""][-8:] == (9).to_bytes(8, "big")


def test_txns_for_what_is_not_there_are_passed_over() -> None:
    tree = empty()
    for kind, record in (
        (written.CREATE, written.create("/no/child", b"", written.OPEN, 1)),
        (written.DELETE, written.delete("/no/child")),
        (written.SET_DATA, written.set_data("/no", b"x", 1)),
        (written.SET_ACL, written.set_acl("/no", written.OPEN, 1)),
    ):
        applied(tree, written.body(5, kind, record))
    assert tree.wrapped_digest == 1371985504


def test_a_multi_with_one_failure_in_it_does_nothing() -> None:
    tree = empty()
    parts = [(written.CREATE, written.create("/a", b"", written.OPEN, 1)), (written.ERROR, written.i32(-101))]
    applied(tree, written.body(5, written.MULTI, written.multi(*parts)))
    assert b"/a" not in tree.nodes


def test_the_parts_of_a_multi_have_its_zxid() -> None:
    tree = empty()
    parts = [
        (written.CREATE, written.create("/a", b"", written.OPEN, 1)),
        (written.CREATE, written.create("/a/b", b"", written.OPEN, 1)),
        (written.CHECK, written.buffer(b"/a") + written.i32(0)),
        (written.SET_DATA, written.set_data("/a", b"x", 1)),
        (written.DELETE, written.delete("/a/b")),
    ]
    applied(tree, written.body(5, written.MULTI, written.multi(*parts)))
    assert tree.nodes[b"/a"][-60:-44] == (5).to_bytes(8, "big") * 2
    assert b"/a/b" not in tree.nodes


def test_a_closed_session_takes_along_what_is_listed_and_what_is_not() -> None:
    tree = empty()
    applied(tree, written.body(1, written.CREATE_SESSION, written.i32(30000), session_id=SESSION))
    for number, name in enumerate(("/listed", "/not"), 1):
        record = written.create(name, b"", written.OPEN, number, ephemeral=True)
        applied(tree, written.body(1 + number, written.CREATE, record, session_id=SESSION))
    assert tree.sessions == {SESSION: 30000}
    record = written.close_session(["/listed", "/never"])
    applied(tree, written.body(4, written.CLOSE_SESSION, record, session_id=SESSION))
    assert tree.sessions == {}
    assert set(tree.nodes) == {b"", b"/zookeeper", b"/zookeeper/quota"}


def test_a_session_is_closed_by_an_entry_without_paths_and_with_a_digest_or_none() -> None:
    for digest in (None, 5):
        tree = empty()
        tree.sessions[7] = 1
        assert applied(tree, written.body(4, written.CLOSE_SESSION, b"", digest=digest)) == digest
        assert tree.sessions == {}


def test_ephemerals_without_a_session_are_orphans_and_containers_and_ttl_znodes_are_not() -> None:
    tree = empty()
    applied(tree, written.body(1, written.CREATE, written.create("/e", b"", written.OPEN, 1, ephemeral=True)))
    applied(tree, written.body(2, written.CREATE_TTL, written.create_ttl("/t", b"", written.OPEN, 2, 1000)))
    applied(tree, written.body(3, written.CREATE_CONTAINER, written.create_container("/c", b"", written.OPEN, 3)))
    assert tree.orphans() == [b"/e"]
    tree.sessions[7] = 1
    assert tree.orphans() == []


def test_a_create_from_before_3_4_counts_the_child_itself() -> None:
    tree = empty()
    applied(tree, written.body(3, written.CREATE, written.create_old("/a", b"", written.OPEN)))
    applied(tree, written.body(4, written.CREATE, written.create_old("/b", b"", written.OPEN)))
    assert tree.nodes[b""][-24:-20] == (2).to_bytes(4, "big")


def test_java_writes_characters_beyond_the_16_bits_as_two() -> None:
    assert txns.java_text("a𝄞".encode()) == "a𝄞"
    assert txns.java_text(b"a\xed\xa0\xb4\xed\xb4\x9e") == "a𝄞"
    assert txns.java_text(b"a\xff") == "a�"
