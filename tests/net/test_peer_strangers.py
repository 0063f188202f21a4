"""Strangers and impostors at the peer port, and members that break the protocol: each gone with one line."""

from __future__ import annotations

import os
import random
import struct

import pytest
from trio.testing import MockClock

from tests.net.peers import Ensemble, Server, Stranger, commit, ensemble_of, join, vote, warnings_in
from zkstore import limits
from zkstore.net.peer_frames import GOSSIP, LINK, Hello, decode_answer, encode_hello, frames_of, urgent_frame
from zkstore.wire import messages
from zkstore.wire.messages import (
    PONG,
    PROPOSE,
    VERSION,
    Pong,
    Propose,
)

pytestmark = pytest.mark.trio


def _hello(sender: int = 2, receiver: int = 1, version: int = VERSION, ensemble_id: bytes = b"") -> bytes:
    return b"".join(frames_of(encode_hello(Hello(version, LINK, sender, receiver, ensemble_id))))


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "this is no server of an ensemble", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", "the other side speaks TLS", id="tls"),
        pytest.param(struct.pack(">I", 0), "a frame of 0 bytes", id="nothing"),
        pytest.param(struct.pack(">I", 2_100) + bytes(2_100), "a message of more than 2048 bytes", id="long"),
        pytest.param(struct.pack(">I", 70_000), "a frame of 70000 bytes", id="longer"),
        pytest.param(b"".join(frames_of(b"\xc1")), "does not introduce itself", id="garbage"),
        pytest.param(b"".join(frames_of(messages.encode(vote(2)))), "does not introduce itself", id="vote"),
        pytest.param(_hello(sender=9), "server 9 is not a member", id="unknown id"),
        pytest.param(_hello(sender=1), "it says that it is server 1, and so is this one", id="own id"),
        pytest.param(_hello(sender=-3), "-3 is no server's id", id="no id"),
        pytest.param(_hello(receiver=3), "server 3 is wanted, and this is server 1", id="wrong server"),
        pytest.param(_hello(version=7), "it speaks version 7 of the servers' protocol", id="version"),
        pytest.param(_hello(ensemble_id=bytes(16)), "server 2 is of ensemble 0000", id="another ensemble"),
        pytest.param(_hello(ensemble_id=bytes(3)), "an ensemble's id of 3 bytes", id="half an ensemble"),
    ],
)
async def test_a_stranger_is_disconnected_with_one_line(
    three: Ensemble, caplog: pytest.LogCaptureFixture, said: bytes, complaint: str
) -> None:
    three[1].port.greeting.ensemble_id = b"e" * 16
    stranger = await Stranger(three, 1).say(said)
    assert stranger.is_hung_up_on()
    [line] = warnings_in(caplog)
    assert line.startswith("a connection from 127.0.0.1:")
    assert complaint in line
    stranger.close()
    three.tell(2, 1, vote(2))
    await three.settle()
    assert three[1].votes == [vote(2)], "everything else goes on"
    assert three[1].links == []


async def test_who_is_refused_is_told_why(three: Ensemble) -> None:
    stranger = await Stranger(three, 1).say(_hello(sender=9))
    [answer] = stranger.hear()
    assert decode_answer(answer).refusal == "server 9 is not a member of this ensemble"
    stranger.close()


async def test_a_guest_is_let_in_where_the_owner_says_so(three: Ensemble) -> None:
    three[1].port.greeting.admits = lambda server_id: server_id == 9
    guest = await Stranger(three, 1).hello(9, 1)
    assert three[1].links == [("accepted", 1, 9)]
    guest.close()


async def test_who_only_looks_whether_the_port_is_open_is_no_reason_to_complain(
    three: Ensemble, caplog: pytest.LogCaptureFixture
) -> None:
    Stranger(three, 1).close()
    await three.settle()
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("said", [b"", _hello()[:5], b"\0\0"])
async def test_who_does_not_introduce_themselves_is_disconnected(
    three: Ensemble, mock_clock: MockClock, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    stranger = await Stranger(three, 1).say(said)
    mock_clock.jump(limits.PEER_HANDSHAKE_TIMEOUT_MS / 1000 - 0.1)
    await three.settle()
    assert not stranger.is_hung_up_on(0)
    mock_clock.jump(0.3)
    await three.settle()
    assert stranger.is_hung_up_on()
    assert [line.partition("refused: ")[2] for line in warnings_in(caplog)] == ["no introduction within 5000 ms"]
    stranger.close()


async def test_a_link_on_which_nothing_is_said_is_closed(
    three: Ensemble, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    silent = await Stranger(three, 1).hello(2, 1)
    mock_clock.jump(limits.PEER_HANDSHAKE_TIMEOUT_MS / 1000 + 0.2)
    await three.settle()
    assert three[1].links == [("accepted", 1, 2), ("broke", 1, 2)]
    assert warnings_in(caplog)[0].endswith("no first message within 5000 ms")
    silent.close()


@pytest.mark.parametrize(
    ("purpose", "said", "complaint"),
    [
        (LINK, frames_of(b"\x93\x01\x02\x03"), "Vote"),
        (LINK, frames_of(b"\xc1\xc1"), "no message"),
        (LINK, frames_of(messages.encode(vote(2))), "a vote on a link"),
        (LINK, frames_of(messages.encode(join(3))), "a Join in the name of server 3"),
        (LINK, frames_of(bytes(1_000_001)), "a message of more than 1000000 bytes"),
        (LINK, [struct.pack(">I", 1 << 24 | 1) + b"x", frames_of(b"y")[0]], "a message begins within another one"),
        (LINK, [struct.pack(">I", 9 << 24 | 1) + b"x"], "a frame begins with the byte 0x09"),
        (GOSSIP, frames_of(messages.encode(vote(3))), "a vote in the name of server 3"),
        (GOSSIP, frames_of(messages.encode(commit(1))), "a Commit where votes are exchanged"),
        (GOSSIP, frames_of(bytes(1_025)), "a message of more than 1024 bytes"),
        (GOSSIP, frames_of(messages.encode(vote(2))) * 1_001, "a flood: more than 1000 votes in a second"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_disconnected_with_one_line(
    three: Ensemble,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    purpose: str,
    said: list[bytes],
    complaint: str,
) -> None:
    monkeypatch.setattr(limits, "PEER_MESSAGE_BYTES_MAX", 1_000_000)  # the real bound takes seconds to send
    peer = await Stranger(three, 1).hello(2, 1, purpose)
    rest = b"".join(said)
    while rest and not peer.is_hung_up_on(0):
        await peer.say(rest[:100_000])
        rest = rest[100_000:]
    assert peer.is_hung_up_on()
    [line] = [line for line in warnings_in(caplog) if "server 2 at 127.0.0.1" in line]
    assert complaint in line
    peer.close()
    three.tell(3, 1, vote(3))
    await three.settle()
    assert three[1].votes[-1] == vote(3)


async def test_what_overtakes_may_stand_between_the_parts_of_another_message(three: Ensemble) -> None:
    peer = await (await Stranger(three, 1).hello(2, 1)).speak(join(2))
    large = Propose(PROPOSE, os.urandom(200_000), 0, ())
    first, *others = frames_of(messages.encode(large))
    await peer.say(first + urgent_frame(messages.encode(Pong(PONG, 1, 0, ()))) + b"".join(others))
    assert three[1].messages == [join(2), Pong(PONG, 1, 0, ()), large]
    peer.close()


async def test_a_crowd_of_strangers_keeps_no_member_out(three: Ensemble, caplog: pytest.LogCaptureFixture) -> None:
    crowd = [Stranger(three, 1) for _ in range(limits.PEER_STRANGERS_MAX + 5)]
    await three.settle()
    assert all(stranger.is_hung_up_on() for stranger in crowd[:5])
    assert not any(stranger.is_hung_up_on(0) for stranger in crowd[5:])
    assert await three.link(2, 1)
    assert len(warnings_in(caplog)) == 1, "the same complaint is not repeated for each"
    for stranger in crowd:
        stranger.close()


async def test_another_server_at_a_members_address_is_named(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ensemble_of(Server(1), Server(2), settles=False) as ensemble:
        ensemble[1].port.set_members({2: [ensemble[2].address], 3: [ensemble[2].address]})
        ensemble[1].port.dial(-1, 3)
        await ensemble.settle()
        assert ensemble[1].links == [("broke", -1, 0)]
        [line] = [line for line in warnings_in(caplog) if "to server 3 at" in line]
        assert line.endswith("server 2 answers there; correct the line server.3, or its myid")


async def test_servers_of_two_ensembles_do_not_mix(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    one, other = Server(1), Server(2)
    one.port.greeting.ensemble_id, other.port.greeting.ensemble_id = b"a" * 16, b"b" * 16
    async with ensemble_of(one, other) as ensemble:
        ensemble.tell(1, 2, vote(1))
        ensemble[2].port.dial(-1, 1)
        await ensemble.settle()
        assert ensemble[2].votes == []
        assert ensemble[2].links == [("broke", -1, 0)]
        assert any("server 1 is of ensemble 6161" in line for line in warnings_in(caplog))


@pytest.mark.parametrize("purpose", [GOSSIP, LINK])
async def test_no_bytes_of_a_member_raise_anything(three: Ensemble, purpose: str) -> None:
    """Lesson 3769: one malformed message must not end the receiver of all."""
    chance = random.Random(3769)
    good = b"".join(frames_of(messages.encode(vote(2) if purpose == GOSSIP else commit(1))))
    for _ in range(40):
        peer = await Stranger(three, 1).hello(2, 1, purpose)
        damaged = bytearray(good * 3)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        await peer.say(bytes(damaged[: chance.randint(1, len(damaged))]) + chance.randbytes(chance.randint(0, 9)))
        peer.close()
    three.tell(3, 1, vote(3))
    await three.settle()
    assert three[1].votes[-1] == vote(3)
