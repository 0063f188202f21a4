from __future__ import annotations

from zkstore.model.txns import SET_DATA, SetDataTxn
from zkstore.testing.world.trace import Trace, show
from zkstore.wire import segment as segments
from zkstore.wire.messages import ACK, Ack
from zkstore.zab.effects import Append, Look


def test_every_part_of_an_event_counts() -> None:
    events = [(1, 2, 3, b"x"), (2, 2, 3, b"x"), (1, 3, 3, b"x"), (1, 2, 4, b"x"), (1, 2, 3, b"y")]
    digests = set()
    for event in events:
        trace = Trace()
        trace.event(*event)
        digests.add(trace.digest)
    assert len(digests) == len(events)


def test_lines_name_time_and_server() -> None:
    trace = Trace(is_on=True)
    trace.line(1_500_000, 2, "starts")
    trace.line(2_000_000, 0, "FAULT")
    assert [line.split() for line in trace.lines] == [["1.500000", "s2", "starts"], ["2.000000", "--", "FAULT"]]


def test_effects_and_messages_are_shown_short() -> None:
    txn = SetDataTxn(SET_DATA, 1, 1, 1, b"/x", b"data", 1)
    segment = segments.encode([txn], prev_zxid=0, first_zxid=1 << 32 | 1, digest_zxid=0, digest=0, prev_crc=0)
    assert show(Append(segment)) == f"Append(segment=[0x100000001..0x100000001 crc {segment.crc:08x}])"
    assert show(Ack(ACK, 0x100000002)) == "Ack(zxid=0x100000002)"
    assert show(Look("a reason")) == "Look(reason=a reason)"
    assert show(b"\0" * 100) == "<100 bytes>"
    assert show(b"\1\2") == "0102"
    assert show(tuple(range(9))) == "<9>"
    assert show((1, 2)) == "(1, 2)"
