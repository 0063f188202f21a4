"""What agreement asks of the world around it. A `Peer` puts these into its `effects`; its owner takes them, in order.

Disk effects are carried out one after the other in the order in which they were asked for (consecutive appends may be
joined), and each is reported by `Peer.done` when, and only when, it is on disk. All other effects are carried out at
once, and never wait for the disk.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from zkstore.wire.messages import LinkMessage, Vote
from zkstore.wire.segment import Segment

# --- the network ----------------------------------------------------------------------------------


class Gossip(NamedTuple):
    """Tell a server, best effort. A newer one replaces an older one that has not been sent."""

    to: int
    vote: Vote


class Dial(NamedTuple):
    """Open a link to that server's peer port; the owner reports `Peer.dialled` or `Peer.broke`."""

    link: int
    server_id: int


class Send(NamedTuple):
    """Send on a link, in order."""

    link: int
    message: LinkMessage


class HangUp(NamedTuple):
    """Close a link; `reason` is for the log. Nothing more is reported of it."""

    link: int
    reason: str


class SendSnapshot(NamedTuple):
    """Send the newest checkpoint on this link (SnapshotBegin, SnapshotRows..., SnapshotEnd), at the link's own pace,
    while everything else goes on; then report `Peer.snapshot_sent` with the checkpoint's zxid and CRC."""

    link: int


# --- the disk -------------------------------------------------------------------------------------


class Promise(NamedTuple):
    """Put the promise not to follow a leader of a lower epoch on disk."""

    epoch: int


class Adopt(NamedTuple):
    """Put on disk that the history of this epoch's leader has been adopted; if it `enrols`, also that this server has
    a vote from now on (ENROLLED of `wire.messages`)."""

    epoch: int
    enrols: bool = False


class Belong(NamedTuple):
    """Put on disk which ensemble this server belongs to from now on."""

    ensemble_id: bytes


class Append(NamedTuple):
    """Put a segment behind the log's end."""

    segment: Segment


class Cut(NamedTuple):
    """Remove every segment that ends behind `zxid` from the log."""

    zxid: int


class InstallBegin(NamedTuple):
    """Prepare a place for a snapshot that arrives, beside what is there; an earlier half is forgotten."""

    zxid: int
    crc: int
    digest: int


class InstallRows(NamedTuple):
    """Put rows of the snapshot there, as they were sent."""

    rows: tuple[tuple[bytes, bytes], ...]


class Install(NamedTuple):
    """All rows are there: check the digest, then the tree that they make replaces checkpoint, snapshots and log, in
    one step. What does not fit its digest leaves the old state as it was, and is reported by `Peer.failed`."""

    zxid: int
    sessions: tuple[tuple[int, int, bytes], ...]


DiskEffect: TypeAlias = Promise | Adopt | Belong | Append | Cut | InstallBegin | InstallRows | Install

# --- the state machine ----------------------------------------------------------------------------


class Learned(NamedTuple):
    """A segment was taken into the history, uncommitted as yet: it follows the one learned before.

    `claims` as in `wire.messages.Propose`.
    """

    segment: Segment
    claims: tuple[tuple[int, int, int, bytes], ...]


class Committed(NamedTuple):
    """Everything up to `zxid`, the end of a segment, is committed: apply it."""

    zxid: int


class Dropped(NamedTuple):
    """What was learned behind `zxid` was never committed and is gone."""

    zxid: int


class Replaced(NamedTuple):
    """The installed snapshot's tree is the state now; everything learned before is gone."""

    zxid: int


class Lead(NamedTuple):
    """The epoch is this server's: a quorum has adopted it. Propose; serve clients.

    All of the initial history has been committed by a `Committed` before this.
    """

    epoch: int


class Follow(NamedTuple):
    """In step with the leader's commit point: serve clients, forward writes on `link`. Observers have no `votes`."""

    epoch: int
    leader: int
    link: int
    votes: bool


class Look(NamedTuple):
    """Neither leading nor following any more (or yet): serve nobody, end what was under way. `reason` is for logs."""

    reason: str


class Relay(NamedTuple):
    """What `replica` on the other side has to say (Forward, Revalidate, SyncRequest, Pong's sessions; Revalidated,
    Synced). `server_id` says from whom."""

    link: int
    server_id: int
    message: LinkMessage


class Fill(NamedTuple):
    """Propose a txn that changes nothing, if nothing else is to be proposed: somebody waits for the next commit."""


class Confirmed(NamedTuple):
    """A quorum has confirmed this leader after `Peer.confirm` returned that ticket: syncs up to it may be answered."""

    ticket: int


class Note(NamedTuple):
    """For the log of the server: a line of the story that an election tells."""

    text: str


class Stop(NamedTuple):
    """An invariant is broken: this server must not go on. `invariant` names it (I1 ... I21), `zxid` says where."""

    invariant: str
    zxid: int
    text: str


Effect: TypeAlias = (
    Gossip
    | Dial
    | Send
    | HangUp
    | SendSnapshot
    | DiskEffect
    | Learned
    | Committed
    | Dropped
    | Replaced
    | Lead
    | Follow
    | Look
    | Relay
    | Fill
    | Confirmed
    | Note
    | Stop
)
