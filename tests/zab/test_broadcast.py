"""What is in flight: how much may be, who must have it, and when it is forgotten."""

from __future__ import annotations

from tests.zab.harness import make_chain, members
from tests.zab.script import Script
from zkstore.zab.broadcast import Broadcast

CHAIN = make_chain(1, 2, 3, 4)


def in_flight(script: Script) -> Broadcast:
    broadcast = Broadcast(script.core)
    for segment in CHAIN:
        broadcast.add(segment)
        script.core.append(segment)
    return broadcast


def test_room_is_bounded_by_segments_and_by_bytes() -> None:
    script = Script()
    broadcast = in_flight(script)
    settings = script.core.settings
    assert broadcast.has_room and broadcast.in_flight_bytes == sum(len(segment.data) for segment in CHAIN)
    for segment in make_chain(*range(5, settings.in_flight_segments_max + 1)):
        broadcast.add(segment)
    assert not broadcast.has_room and len(broadcast) == settings.in_flight_segments_max
    broadcast = in_flight(Script())
    broadcast.in_flight_bytes = settings.in_flight_bytes_max
    assert not broadcast.has_room


def test_a_segment_is_forgotten_once_it_is_committed_and_on_this_disk() -> None:
    script = Script()
    broadcast = in_flight(script)
    script.core.commit_to(3)
    broadcast.trim()
    assert len(broadcast) == 4
    script.disk_step()
    script.disk_step()
    broadcast.trim()
    assert len(broadcast) == 2 and broadcast.after(1) is None and broadcast.after(2) is CHAIN[2]
    script.disk_all()
    broadcast.trim()
    assert len(broadcast) == 1, "on disk and not committed"
    assert broadcast.end_at_or_before(9) == (4, CHAIN[3].crc) and broadcast.end_at_or_before(3) is None


def test_only_voters_acknowledgements_agree() -> None:
    script = Script()
    broadcast = in_flight(script)
    broadcast.acked = {1: 3, 8: 4, 9: 4}
    assert broadcast.agreed_zxid() == 0 and broadcast.committed_end() is None
    broadcast.acked[3] = 2
    assert broadcast.agreed_zxid() == 2 == broadcast.committed_end()
    broadcast.acked[2] = 4
    assert broadcast.agreed_zxid() == 3 == broadcast.committed_end()


def test_before_a_reconfiguration_the_old_quorum_decides_and_from_it_on_both() -> None:
    script = Script()
    broadcast = in_flight(script)
    script.core.config_logged(members(3, 4, 5, version=3), 3)
    broadcast.acked = {1: 4, 2: 4}
    assert broadcast.agreed_zxid() == 2
    broadcast.acked[4] = 4
    assert broadcast.agreed_zxid() == 2
    broadcast.acked[5] = 3
    assert broadcast.agreed_zxid() == 3


def test_a_server_alone_is_its_own_quorum() -> None:
    script = Script(config=members(1))
    broadcast = in_flight(script)
    broadcast.acked[1] = 2
    assert broadcast.committed_end() == 2
