"""What the servers of an ensemble say to each other: typed records, each a msgpack array that opens with its kind.

Two ways lead from server to server:

    gossip   `Vote` only. Best effort: may be lost, doubled or overtaken; the newest counts.
    a link   between a learner, which dialled, and its leader. In order and without holes until it breaks, and
             nothing of it is believed afterwards.

The course of a link (learner on the left; Zab's names in brackets, ensemble.md's reference in the paper's terms):

    Join            [CEPOCH, FOLLOWERINFO]   ->
                                             <-  NewEpoch    [NEWEPOCH, LEADERINFO]
    EpochAck        [ACK-E, ACKEPOCH]        ->
                                             <-  Truncate*, or SnapshotBegin SnapshotRows* SnapshotEnd, or neither
    Position  (after each Truncate and Snapshot) ->
                                             <-  Propose*    [DIFF], within a window that Ack opens
    Ack*                                     ->
                                             <-  NewLeader   [NEWLEADER], once the learner was sent all of the history
    NewLeaderAck                             ->
                                             <-  UpToDate    [UPTODATE]
                                             <-  Enrol       (a learner without a vote: it has one now)
    Ack*                                     ->
                                             <-  Propose*, Commit*

Meanwhile, at any time: Ping and Pong, and what `replica` has to say, which `zab` carries without a look inside:
Forward, Revalidate, SyncRequest up, Revalidated, Synced down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from zkstore import limits
from zkstore.errors import PeerMessageError

(VOTE, JOIN, NEW_EPOCH, EPOCH_ACK, TRUNCATE, POSITION) = range(1, 7)
(SNAPSHOT_BEGIN, SNAPSHOT_ROWS, SNAPSHOT_END) = range(7, 10)
(PROPOSE, NEW_LEADER, NEW_LEADER_ACK, UP_TO_DATE, ACK, COMMIT) = range(10, 16)
(PING, PONG, HAND_OVER, REFUSAL) = range(16, 20)
(FORWARD, REVALIDATE, REVALIDATED, SYNC_REQUEST, SYNCED, FORWARD_LOCAL, ENROL) = range(20, 27)
"""The kinds: the first field of every record. They never change their meaning; a new record gets a new number."""

VERSION: Final = 2
"""Of this vocabulary; a Join that names another one is refused."""

ENSEMBLE_ID_BYTES: Final = 16
"""Random, so that no two ensembles share one."""

LOOKING: Final = 0
FOLLOWING: Final = 1
LEADING: Final = 2
OBSERVING: Final = 3
"""What a server says of itself in a Vote."""

FRESH: Final = 0
LEARNING: Final = 1
LOST: Final = 2
ENROLLED: Final = 3
"""What a server knows of its own past: that there is none; that it is being brought in step and has no vote yet; that
what it had was damaged; that it has kept all that it ever promised and acknowledged. See `zab.enrolment`."""


class Vote(NamedTuple):
    """Gossip of the election (ensemble.md 5.2). `leader` is the candidate, or the leader that is established.

    `adopted_epoch` and `last_zxid` are the candidate's; of an established leader, its epoch and 0.
    """

    kind: int
    sender: int
    state: int
    round: int
    leader: int
    adopted_epoch: int
    last_zxid: int
    config_version: int


class Join(NamedTuple):
    """A learner's first word. `ensemble_id` is b"" where none was agreed on yet; `enrolment` is one of the above."""

    kind: int
    version: int
    server_id: int
    ensemble_id: bytes
    promised_epoch: int
    config_version: int
    enrolment: int = ENROLLED


class NewEpoch(NamedTuple):
    """The epoch that the leader wants to lead; to be promised on disk before it is answered."""

    kind: int
    epoch: int
    ensemble_id: bytes


class EpochAck(NamedTuple):
    """The promise is on disk. `adopted_epoch` is -1 if this epoch had been promised before, and then does not count."""

    kind: int
    epoch: int
    adopted_epoch: int
    last_zxid: int
    last_crc: int


class Truncate(NamedTuple):
    """Remove every segment that ends behind `zxid`; answered by Position."""

    kind: int
    zxid: int


class Position(NamedTuple):
    """Where the learner's log ends now; on disk."""

    kind: int
    last_zxid: int
    last_crc: int


class SnapshotBegin(NamedTuple):
    """A whole tree follows, as of `zxid`, the end of a segment with that CRC; it replaces what the learner had."""

    kind: int
    zxid: int
    crc: int
    digest: int


class SnapshotRows(NamedTuple):
    """Some rows of the tree: (key, value) as the store that sends them hands them out."""

    kind: int
    rows: tuple[tuple[bytes, bytes], ...]


class SnapshotEnd(NamedTuple):
    """All rows were sent; `sessions` as (session id, timeout in ms, password). Answered by Position once installed."""

    kind: int
    sessions: tuple[tuple[int, int, bytes], ...]


class Propose(NamedTuple):
    """One segment, unchanged, to be logged; and how far the leader has committed.

    `claims` are answers to what this learner itself forwarded: (index of the txn in the segment, ticket, error code,
    body of the answer where the request failed).
    """

    kind: int
    segment: bytes
    committed_zxid: int
    claims: tuple[tuple[int, int, int, bytes], ...]


class NewLeader(NamedTuple):
    """The history that the leader leads with ends at (`last_zxid`, `last_crc`); the learner has been sent all of it."""

    kind: int
    epoch: int
    last_zxid: int
    last_crc: int


class Enrol(NamedTuple):
    """The learner of that epoch has a vote from now on, whatever it has forgotten."""

    kind: int
    epoch: int


class NewLeaderAck(NamedTuple):
    """That history is on disk here, and `epoch` is adopted on disk."""

    kind: int
    epoch: int


class UpToDate(NamedTuple):
    """A quorum has adopted the epoch: serve clients once all up to `committed_zxid` is applied."""

    kind: int
    epoch: int
    committed_zxid: int


class Ack(NamedTuple):
    """Everything up to `zxid` is on disk."""

    kind: int
    zxid: int


class Commit(NamedTuple):
    """Everything up to `zxid` is committed."""

    kind: int
    zxid: int


class Ping(NamedTuple):
    """The leader lives. `probe` counts up; its echo by a quorum proves that nobody else led when it was sent."""

    kind: int
    probe: int
    committed_zxid: int


class Pong(NamedTuple):
    """The learner lives. `touched` are sessions whose clients were heard of here since the last Pong."""

    kind: int
    probe: int
    applied_zxid: int
    touched: tuple[int, ...]


class HandOver(NamedTuple):
    """The leader stops leading, in order; `designated` holds all that was committed and should be voted for."""

    kind: int
    designated: int


class Refusal(NamedTuple):
    """The link is about to be closed, and why; for the learner's log."""

    kind: int
    reason: str


class Forward(NamedTuple):
    """A client's write, to be proposed by the leader. `ticket` counts up per link; claims name it.

    `opcode` is the request's, `identities` (scheme, id) whom the client has proved to be. A request for a new session
    has the opcode CREATE_SESSION, and in `body` the session's timeout and password as `replica` packs them.

    Of the kind FORWARD_LOCAL if nobody but the learner knows the session: the learner vouches for it.
    """

    kind: int
    ticket: int
    session_id: int
    xid: int
    opcode: int
    body: bytes
    identities: tuple[tuple[str, str], ...]


class Revalidate(NamedTuple):
    """A client wants its session back at the learner: is it alive, is that its password? It then moves there."""

    kind: int
    ticket: int
    session_id: int
    timeout_ms: int
    password: bytes


class Revalidated(NamedTuple):
    """The answer; `timeout_ms` is 0 where the session is gone or not this client's."""

    kind: int
    ticket: int
    timeout_ms: int


class SyncRequest(NamedTuple):
    """A client's sync: tell me when I have been told of everything that was committed before this."""

    kind: int
    ticket: int


class Synced(NamedTuple):
    """The answer: once all up to `zxid` is applied here, reads are fresh."""

    kind: int
    ticket: int
    zxid: int


LinkMessage: TypeAlias = (
    Join
    | NewEpoch
    | EpochAck
    | Truncate
    | Position
    | SnapshotBegin
    | SnapshotRows
    | SnapshotEnd
    | Propose
    | NewLeader
    | NewLeaderAck
    | Enrol
    | UpToDate
    | Ack
    | Commit
    | Ping
    | Pong
    | HandOver
    | Refusal
    | Forward
    | Revalidate
    | Revalidated
    | SyncRequest
    | Synced
)
Message: TypeAlias = Vote | LinkMessage


# --- bytes ----------------------------------------------------------------------------------------

_LONG_MIN: Final = -(1 << 63)
_LONG_MAX: Final = (1 << 63) - 1
_Check: TypeAlias = Callable[[Any], bool]


def _integer(least: int, most: int) -> _Check:
    """An integer in these bounds, both included. `type` and not `isinstance`: True is no number here."""
    return lambda value: type(value) is int and least <= value <= most


def _binary(least: int, most: int) -> _Check:
    return lambda value: type(value) is bytes and least <= len(value) <= most


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= limits.PEER_TEXT_BYTES_MAX


def _is_ensemble_id(value: Any) -> bool:
    return type(value) is bytes and len(value) in (0, ENSEMBLE_ID_BYTES)


def _rows(*checks: _Check) -> _Check:
    """A list of rows with one column for each check."""

    def check(value: Any) -> bool:
        return (
            type(value) is tuple
            and len(value) <= limits.PEER_LIST_MAX
            and all(
                type(row) is tuple
                and len(row) == len(checks)
                and all(fits(column) for fits, column in zip(checks, row, strict=True))
                for row in value
            )
        )

    return check


def _list(fits: _Check) -> _Check:
    return lambda value: type(value) is tuple and len(value) <= limits.PEER_LIST_MAX and all(map(fits, value))


_SERVER: Final = _integer(0, 0xFFFFFFFF)
_EPOCH: Final = _integer(0, limits.EPOCH_MAX)
_EPOCH_OR_NONE: Final = _integer(-1, limits.EPOCH_MAX)
_ZXID: Final = _integer(0, _LONG_MAX)
_COUNT: Final = _integer(0, _LONG_MAX)
_CRC: Final = _integer(0, 0xFFFFFFFF)
_DIGEST: Final = _integer(0, 0xFFFFFFFFFFFFFFFF)
_LONG: Final = _integer(_LONG_MIN, _LONG_MAX)
_INT: Final = _integer(-(1 << 31), (1 << 31) - 1)
_BYTES: Final = _binary(0, limits.PEER_MESSAGE_BYTES_MAX)
_STATE: Final = _integer(LOOKING, OBSERVING)
_CLAIMS: Final = _rows(_integer(0, limits.SEGMENT_TXNS_MAX - 1), _COUNT, _INT, _BYTES)
_SESSIONS: Final = _rows(_LONG, _INT, _BYTES)

_RECORDS: Final[dict[int, tuple[Any, tuple[_Check, ...]]]] = {
    VOTE: (Vote, (_SERVER, _STATE, _COUNT, _SERVER, _EPOCH_OR_NONE, _ZXID, _COUNT)),
    JOIN: (Join, (_COUNT, _SERVER, _is_ensemble_id, _EPOCH, _COUNT, _integer(FRESH, ENROLLED))),
    NEW_EPOCH: (NewEpoch, (_EPOCH, _binary(ENSEMBLE_ID_BYTES, ENSEMBLE_ID_BYTES))),
    EPOCH_ACK: (EpochAck, (_EPOCH, _EPOCH_OR_NONE, _ZXID, _CRC)),
    TRUNCATE: (Truncate, (_ZXID,)),
    POSITION: (Position, (_ZXID, _CRC)),
    SNAPSHOT_BEGIN: (SnapshotBegin, (_ZXID, _CRC, _DIGEST)),
    SNAPSHOT_ROWS: (SnapshotRows, (_rows(_BYTES, _BYTES),)),
    SNAPSHOT_END: (SnapshotEnd, (_SESSIONS,)),
    PROPOSE: (Propose, (_BYTES, _ZXID, _CLAIMS)),
    NEW_LEADER: (NewLeader, (_EPOCH, _ZXID, _CRC)),
    ENROL: (Enrol, (_EPOCH,)),
    NEW_LEADER_ACK: (NewLeaderAck, (_EPOCH,)),
    UP_TO_DATE: (UpToDate, (_EPOCH, _ZXID)),
    ACK: (Ack, (_ZXID,)),
    COMMIT: (Commit, (_ZXID,)),
    PING: (Ping, (_COUNT, _ZXID)),
    PONG: (Pong, (_COUNT, _ZXID, _list(_LONG))),
    HAND_OVER: (HandOver, (_SERVER,)),
    REFUSAL: (Refusal, (_is_text,)),
    FORWARD: (Forward, (_COUNT, _LONG, _INT, _INT, _BYTES, _rows(_is_text, _is_text))),
    FORWARD_LOCAL: (Forward, (_COUNT, _LONG, _INT, _INT, _BYTES, _rows(_is_text, _is_text))),
    REVALIDATE: (Revalidate, (_COUNT, _LONG, _INT, _BYTES)),
    REVALIDATED: (Revalidated, (_COUNT, _INT)),
    SYNC_REQUEST: (SyncRequest, (_COUNT,)),
    SYNCED: (Synced, (_COUNT, _ZXID)),
}
"""Per kind: its class, and what each field behind the kind must be."""


def encode(message: Message) -> bytes:
    """A message's bytes, without a length before them."""
    data: bytes = msgpack.packb(message)
    return data


def decode(data: bytes) -> Message:
    """The message in these bytes, every field of the right type and within its bounds.

    Raises PeerMessageError, naming what does not fit.
    """
    if len(data) > limits.PEER_MESSAGE_BYTES_MAX:
        raise PeerMessageError(f"a message of {len(data)} bytes; the most is {limits.PEER_MESSAGE_BYTES_MAX}")
    try:
        fields = msgpack.unpackb(data, use_list=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise PeerMessageError(f"{len(data)} bytes are no message ({type(error).__name__}: {error})") from error
    if type(fields) is not tuple or not fields or type(fields[0]) is not int or fields[0] not in _RECORDS:
        raise PeerMessageError(f"a message of {len(data)} bytes is of no kind that this zkstore knows")
    record, checks = _RECORDS[fields[0]]
    if len(fields) != len(checks) + 1:
        raise PeerMessageError(f"a {record.__name__} with {len(fields)} fields; it has {len(checks) + 1}")
    for number, fits in enumerate(checks, 1):
        if not fits(fields[number]):
            raise PeerMessageError(f"{record.__name__}.{record._fields[number]} is {fields[number]!r:.60}")
    message: Message = record._make(fields)
    return message
