"""zxids: the number of every update, epoch in the high 32 bits, counter in the low 32."""

from typing import Final

COUNTER_MAX: Final = 0xFFFFFFFF


def make(epoch: int, counter: int) -> int:
    """The zxid of the `counter`-th txn of `epoch`."""
    return epoch << 32 | counter


def epoch_of(zxid: int) -> int:
    """The epoch in which this txn was proposed."""
    return zxid >> 32


def counter_of(zxid: int) -> int:
    """The txn's number within its epoch; 0 stands for the start of the epoch, before its first txn."""
    return zxid & COUNTER_MAX


def text(zxid: int) -> str:
    """As ZooKeeper prints it: lower-case hex with 0x."""
    return f"{zxid:#x}"
