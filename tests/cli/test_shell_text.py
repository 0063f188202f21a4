"""What the shell prints, letter by letter as zkCli does."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from zkstore.cli.shell import text
from zkstore.client import EventType, SessionState, WatchEvent
from zkstore.errors import (
    BadArgumentsError,
    BadVersionError,
    ClientError,
    ConnectionLossError,
    NewConfigNoQuorumError,
    NoNodeError,
    NotEmptyError,
    NoWatcherError,
    ReconfigInProgressError,
    ZkStoreError,
)
from zkstore.model.acl import Acl
from zkstore.model.stat import Stat

STAT = Stat(2, 16, 1553619058123, 1553619059000, 1, 2, 3, -1, 4, 5, 17)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dates are printed in the local time zone, which is this one here."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_stat_is_eleven_lines() -> None:
    assert text.stat_block(STAT).splitlines() == [
        "cZxid = 0x2",
        "ctime = Tue Mar 26 16:50:58 UTC 2019",
        "mZxid = 0x10",
        "mtime = Tue Mar 26 16:50:59 UTC 2019",
        "pZxid = 0x11",
        "cversion = 2",
        "dataVersion = 1",
        "aclVersion = 3",
        "ephemeralOwner = 0xffffffffffffffff",
        "dataLength = 4",
        "numChildren = 5",
    ]


def test_an_acl_is_two_lines_an_entry() -> None:
    acl = (Acl(31, "world", "anyone"), Acl(9, "digest", "u:x"))
    assert text.acl_lines(acl) == "'world,'anyone\n: cdrwa\n'digest,'u:x\n: dr"


def test_null_data_is_the_word_null_and_empty_data_is_nothing() -> None:
    assert text.data_text(None) == "null"
    assert text.data_text(b"") == ""


def test_data_that_is_no_text_becomes_base64_for_programs() -> None:
    assert text.data_value("ä".encode()) == {"data": "ä"}
    assert text.data_value(b"\xff") == {"data_base64": "/w=="}
    assert text.data_value(None) == {"data": None}


def test_a_hex_table_shows_bytes_and_characters() -> None:
    assert text.hex_table(b"0123456789abcdef\x00z").splitlines() == [
        "         +-------------------------------------------------+",
        "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |",
        "+--------+-------------------------------------------------+----------------+",
        "|00000000| 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 |0123456789abcdef|",
        "|00000010| 00 7a                                           |.z              |",
        "+--------+-------------------------------------------------+----------------+",
    ]
    assert text.hex_table(b"") == ""


def test_an_event_stands_below_its_heading() -> None:
    assert text.event_text(WatchEvent(EventType.NODE_DATA_CHANGED, "/a", 12)) == (
        "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 12"
    )
    assert text.state_text(SessionState.SUSPENDED) == (
        "\nWATCHER::\n\nWatchedEvent state:Disconnected type:None path:null zxid: -1"
    )
    assert text.state_text(SessionState.CONNECTING) == ""


@pytest.mark.parametrize("event_type", EventType)
def test_every_event_has_zkcli_s_name(event_type: EventType) -> None:
    name = event_type.name.replace("_", "").lower()
    assert str(text.event_value(WatchEvent(event_type, "/a", 1))["type"]).lower() == name


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NoNodeError("/a"), "Node does not exist: /a"),
        (NotEmptyError("/a"), "Node not empty: /a"),
        (BadVersionError("/a"), "version No is not valid : /a"),
        (BadArgumentsError(), "Arguments are not valid : null"),
        (
            ReconfigInProgressError(),
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)",
        ),
        (
            NewConfigNoQuorumError(),
            "No quorum of new config is connected and up-to-date with the leader of last committed config - "
            "try invoking reconfiguration after new servers are connected and synced",
        ),
        (NoWatcherError("/a"), "KeeperErrorCode = No such watcher for /a"),
        (ConnectionLossError("it broke"), "KeeperErrorCode = ConnectionLoss: it broke"),
        (ClientError("Not connected"), "Not connected"),
    ],
)
def test_errors_have_zkcli_s_words(error: ZkStoreError, line: str) -> None:
    assert text.error_line(error) == line


def test_a_tree_is_drawn_with_its_branches() -> None:
    tree: text.Tree = {"a": {"b": {}, "c": {"d": {}}}, "e": {}}
    assert list(text.tree_lines("/", tree)) == [
        "/",
        "├── a",
        "│   ├── b",
        "│   └── c",
        "│       └── d",
        "└── e",
    ]
