from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.held import Held, loaded
from zkstore.errors import DamageError, FormatTooNewError, StorageError
from zkstore.exchange import jsonlines
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat
from zkstore.model.tree import SessionRecord, Tree
from zkstore.storage.log import Epochs

LONG = st.integers(-(1 << 63), (1 << 63) - 1)
INT = st.integers(-(1 << 31), (1 << 31) - 1)
TEXT = st.text(st.characters(codec="utf-8"))
ACLS = st.one_of(st.just(OPEN_ACL), st.lists(st.builds(Acl, INT, TEXT, TEXT), max_size=3).map(tuple))
ORDINARY, CONTAINER, TTL = 0, records_.CONTAINER_OWNER, records_.ttl_owner(5000)


def tree_of(*znodes: tuple[bytes, bytes]) -> Tree:
    return loaded({**Tree.new().records, **dict(znodes)}, {}, 7)


def written(tmp_path: Path, tree: Tree) -> Path:
    file = tmp_path / "tree.jsonl"
    jsonlines.write(Held(tree), Epochs(3, 2), file, lambda _: None)
    return file


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sessions = data.draw(
        st.dictionaries(LONG.filter(bool), st.builds(SessionRecord, INT, st.binary(max_size=20)), max_size=3),
        "sessions",
    )
    records = dict(Tree.new().records)
    names = data.draw(
        st.lists(st.sampled_from([b"/a", b"/\xc3\xbc", b"/b\xff", b'/"\\', b"/zz"]), unique=True), "names"
    )
    owners = st.sampled_from([ORDINARY, CONTAINER, TTL, *(each for each in sessions if each not in (CONTAINER, TTL))])
    for name in names:
        owner = data.draw(owners, "owner")
        content = data.draw(st.none() | st.binary() | TEXT.map(str.encode), "data")
        fields = [data.draw(each) for each in (LONG, LONG, LONG, LONG, INT, INT, INT)]
        shown = 0 if owner in (CONTAINER, TTL) else owner
        stat = Stat(*fields, shown, len(content or b""), 0, data.draw(LONG))
        records[name] = records_.make(content, stat, data.draw(ACLS, "acl"), owner)
    root = records_.stat_of(records[b"/"])._replace(num_children=1 + len(names))
    records[b"/"] = records_.make(b"", root)
    tree = loaded(records, sessions, data.draw(st.integers(0, (1 << 63) - 1), "zxid"))
    file = written(tmp_path_factory.mktemp("lines"), tree)
    found = jsonlines.read(file, lambda _: None)
    assert (found.records, found.sessions) == (records, sessions)
    assert (found.zxid, found.epochs) == (tree.zxid, Epochs(3, 2))


def test_numbers_of_64_bits_are_text_and_data_that_is_no_text_is_base64(tmp_path: Path) -> None:
    record = records_.make(b"\xff", Stat(1 << 60, 2, 3, 4, 5, 6, 7, 0, 1, 0, 8))
    tree = tree_of((b"/x", record), (b"/y", records_.make(None, Stat(*[0] * 11))))
    lines = {
        line["path"]: line
        for line in map(json.loads, written(tmp_path, tree).read_bytes().splitlines())
        if "path" in line
    }
    assert lines["/x"]["stat"]["czxid"] == "0x1000000000000000"
    assert lines["/x"]["data_base64"] == "/w=="
    assert lines["/y"]["data"] is None
    assert lines["/x"]["acl"] == [[31, "world", "anyone"]]


def test_a_line_written_by_hand_needs_its_path_only(tmp_path: Path) -> None:
    file = tmp_path / "hand.jsonl"
    file.write_text(
        '{"format": "zkstore tree", "version": 1, "zxid": "0x1"}\n'
        '{"path": "/config", "data": "a=1"}\n\n{"path": "/config/below"}\n'
    )
    found = jsonlines.read(file, lambda _: None)
    assert records_.data_of(found.records[b"/config"]) == b"a=1"
    stats = {path: records_.stat_of(record) for path, record in found.records.items()}
    assert (stats[b"/"].num_children, stats[b"/config"].num_children, stats[b"/config"].data_length) == (2, 1, 3)
    assert b"/zookeeper/config" in stats


def test_a_changed_line_is_found_and_told_how_to_be_meant(tmp_path: Path) -> None:
    file = written(tmp_path, tree_of((b"/x", records_.make(b"before", Stat(*[0] * 11)))))
    file.write_text(file.read_text().replace("before", "after"))
    with pytest.raises(DamageError, match=r"digest.*take the digest out of the first line"):
        jsonlines.read(file, lambda _: None)
    header, *rest = file.read_text().splitlines()
    without = {name: value for name, value in json.loads(header).items() if name != "digest"}
    file.write_text("\n".join([json.dumps(without), *rest]))
    assert records_.data_of(jsonlines.read(file, lambda _: None).records[b"/x"]) == b"after"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("no json", "line 2"),
        ("[]", "line 2"),
        ('{"path": null}', "line 2.*null"),
        ('{"data": "x"}', "line 2.*KeyError: 'path'"),
        ('{"path": "x"}', "line 2"),
        ('{"path": "/x/"}', "line 2"),
        ('{"path": "/x", "stat": {"size": 1}}', "line 2.*a Stat has no size"),
        ('{"path": "/x", "stat": {"version": 5000000000}}', "line 2.*does not fit"),
        ('{"path": "/x", "stat": {"czxid": "0x1ffffffffffffffff"}}', "line 2.*more than 64 bits"),
        ('{"path": "/x", "data_base64": "?"}', "line 2"),
        ('{"path": "/x", "owner": "0x5"}', "/x is an ephemeral of the session 0x5"),
        ('{"path": "/x/y"}', "children of /x, and no line"),
        ('{"session": "0x5"}', "line 2.*timeout_ms"),
        ('{"path": "/x"}\n{"path": "/x"}', "line 3.*two lines"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"format": "zkstore tree", "version": 1, "zxid": "0x1"}\n' + line + "\n")
    with pytest.raises(StorageError, match=rf"bad\.jsonl: .*{complaint}"):
        jsonlines.read(file, lambda _: None)


def test_other_files_and_newer_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other"
    for content in (b"", b"\x00\xff", b"{}\n", b'{"format": "other", "version": 1}\n', b"[1]\n"):
        file.write_bytes(content)
        with pytest.raises(DamageError, match="first line does not say"):
            jsonlines.read(file, lambda _: None)
    file.write_text('{"format": "zkstore tree", "version": 2, "zxid": "0x1"}\n')
    with pytest.raises(FormatTooNewError):
        jsonlines.read(file, lambda _: None)


def test_a_tree_that_is_not_what_its_digest_says_is_not_written(tmp_path: Path) -> None:
    tree = tree_of()
    tree.digest += 1
    with pytest.raises(DamageError, match="digest"):
        written(tmp_path, tree)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_only_the_owner_may_read(tmp_path: Path) -> None:
    file = written(tmp_path, tree_of())
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="nothing is ever overwritten"):
        written(tmp_path, tree_of())
