"""A whole session, byte for byte as Apache's server would answer it."""

from __future__ import annotations

import pytest

from zkstore.model.tree import Tree
from zkstore.replica.conversation import Conversation
from zkstore.replica.leading import Leading
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings

PASSWORD = "f22acd4a97e69d6d20a49bb638eadb38"
CONNECT = "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 00"
CONNECTED = f"00000025 00000000 00007530 0100000000000000 00000010 {PASSWORD} 00"
REFUSED = "00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00"


@pytest.fixture
def replica() -> Replica:
    # The clock's low 40 bits are what a session's id takes from it.
    replica = Replica(
        Tree.new(),
        ReplicaSettings(server_id=1),
        now_ms=0,
        time_ms=1 << 40,
        last_crc=0,
        make_password=lambda: bytes.fromhex(PASSWORD),
    )
    replica.lead()
    return replica


@pytest.fixture
def conversation(replica: Replica) -> Conversation:
    return replica.converse(("127.0.0.1", 4000))


def exchange(replica: Replica, conversation: Conversation, request: str) -> str:
    """The answer to some bytes, once the disk has finished; both as hex without blanks."""
    conversation.receive(bytes.fromhex(request))
    leading = replica.role
    assert isinstance(leading, Leading)
    while sealed := leading.next_segment():
        replica.commit_to(sealed.last_zxid)
    answer = b"".join(conversation.out).hex()
    conversation.out.clear()
    return answer


def plain(text: str) -> str:
    return text.replace(" ", "")


def test_a_session_goes_as_recorded(replica: Replica, conversation: Conversation) -> None:
    for request, answer in (
        (CONNECT, CONNECTED),
        ("0000000f 00000001 00000003 00000002 2f61 01", "00000010 00000001 0000000000000001 ffffff9b"),
        (
            "00000032 00000002 00000001 00000002 2f61 00000001 78"
            " 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
            "0000001e ffffffff 0000000000000002 00000000 00000001 00000003 00000002 2f61"
            "00000016 00000002 0000000000000002 00000000 00000002 2f61",
        ),
        ("00000008 fffffffe 0000000b", "00000010 fffffffe 0000000000000002 00000000"),
        (
            "00000037 00000004 0000000e 0000000d 00 ffffffff 00000002 2f61 00000007"
            " 00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff",
            "00000033 00000004 0000000000000003 00000000 ffffffff 00 ffffff99 ffffff99"
            " ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff",
        ),
        ("00000008 00000003 fffffff5", "00000010 00000003 0000000000000004 00000000"),
    ):
        assert exchange(replica, conversation, request) == plain(answer)


def test_an_unknown_session_is_refused_as_recorded(replica: Replica, conversation: Conversation) -> None:
    request = CONNECT.replace("00007530 0000000000000000", "00007530 0000000000000007")
    assert exchange(replica, conversation, request) == plain(REFUSED)


def test_an_old_client_gets_no_read_only_byte(replica: Replica, conversation: Conversation) -> None:
    request = plain(CONNECT).replace("0000002d", "0000002c")[:-2]
    assert exchange(replica, conversation, request) == plain(CONNECTED).replace("00000025", "00000024")[:-2]
