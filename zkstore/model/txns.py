"""Txns: what the log holds, what learners are sent, and what alone changes the tree.

A txn states an outcome that has been checked already: applying it cannot fail. Its zxid is not in it;
txns stand in a segment in order, and the segment names the first zxid. Every txn opens with the same
four fields:

    kind        one of the constants below; in the log for ever, so numbers are never reused
    session_id  the session that asked; 0 where the server itself did
    cxid        the client's number of the request, for whoever reads the log
    time_ms     the leader's clock, milliseconds since 1970-01-01 UTC

They are NamedTuples because a txn is made and read some ten thousand times a second: msgpack writes
them as arrays without a conversion, and the hot path unpacks them in one instruction.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

CREATE_SESSION: Final = 1
CLOSE_SESSION: Final = 2
CREATE: Final = 3
DELETE: Final = 4
SET_DATA: Final = 5
SET_ACL: Final = 6
MULTI: Final = 7
ERROR: Final = 8
RECONFIG: Final = 9

AclEntries: TypeAlias = "tuple[tuple[int, str, str], ...]"


class CreateSessionTxn(NamedTuple):
    """A new session, with the timeout agreed on and the 16 bytes that let its client come back."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    timeout_ms: int
    password: bytes


class CloseSessionTxn(NamedTuple):
    """The end of a session, asked for or by expiry, and of its ephemeral znodes: `paths`, in this order."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    paths: tuple[bytes, ...]


class CreateTxn(NamedTuple):
    """A new znode under its final name. `acl` is None for the open one; `owner` is the stored ephemeral owner."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    path: bytes
    data: bytes | None
    acl: AclEntries | None
    owner: int


class DeleteTxn(NamedTuple):
    """The end of a znode without children."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    path: bytes


class SetDataTxn(NamedTuple):
    """New data; `version` is what the znode has afterwards."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    path: bytes
    data: bytes | None
    version: int


class SetAclTxn(NamedTuple):
    """A new ACL; `aversion` is what the znode has afterwards."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    path: bytes
    acl: AclEntries
    aversion: int


class MultiTxn(NamedTuple):
    """Several changes with one zxid and one time, in order. A multi's checks leave nothing here."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    changes: tuple[Change, ...]


class ErrorTxn(NamedTuple):
    """A write that was refused with `code`: it changes nothing but takes a zxid, which its answer carries."""

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    code: int


class ReconfigTxn(NamedTuple):
    """New members of the ensemble: the data of /zookeeper/config, whose version is this txn's zxid.

    It stands alone in its segment, because whatever comes behind it needs the new members' quorum, too.
    """

    kind: int
    session_id: int
    cxid: int
    time_ms: int
    data: bytes


Change: TypeAlias = CreateTxn | DeleteTxn | SetDataTxn | SetAclTxn
Txn: TypeAlias = CreateSessionTxn | CloseSessionTxn | Change | MultiTxn | ErrorTxn | ReconfigTxn

RECORDS: Final[dict[int, type[Txn]]] = {
    CREATE_SESSION: CreateSessionTxn,
    CLOSE_SESSION: CloseSessionTxn,
    CREATE: CreateTxn,
    DELETE: DeleteTxn,
    SET_DATA: SetDataTxn,
    SET_ACL: SetAclTxn,
    MULTI: MultiTxn,
    ERROR: ErrorTxn,
    RECONFIG: ReconfigTxn,
}
