"""Every bound in zkstore, each with its reason. A constant here, a configuration key only where people need one."""

from typing import Final

# --- what one client may send ---------------------------------------------------------------------

FRAME_BYTES_MAX: Final = 0xFFFFF
"""Largest client frame without its length prefix; Apache's default `jute.maxbuffer`, which clients apply, too."""

UNSENT_BYTES_MAX: Final = 16 << 20
"""Answers waiting for one client that does not read. Sixteen of the largest frames: a pipelining reader on a slow
link fits, a client that never reads is cut off before it costs more memory than the znodes it asked for."""

WAITING_REQUESTS_MAX: Final = 10_000
"""Requests of one connection that wait behind its own writes; at this point the connection is not read until answers
went out. Clients pipeline tens; this only bounds memory."""

RECEIVE_BYTES: Final = 1 << 16
"""Read from one socket in one turn: several hundred pipelined requests, and small enough that a thousand busy
connections take turns within milliseconds."""

HANDSHAKE_TIMEOUT_MS: Final = 10_000
"""A connection that has not sent its ConnectRequest by then is closed (Apache: `nio.sessionlessCnxnTimeout`)."""

CONNECTIONS_PER_ADDRESS_MAX: Final = 60
"""Default of `maxClientCnxns`; the same number and meaning as Apache's."""

# --- sessions -------------------------------------------------------------------------------------

TICK_MS: Final = 2_000
"""Default `tickTime`: what Apache's sample configuration and container image use."""

SESSION_TIMEOUT_TICKS_MIN: Final = 2
SESSION_TIMEOUT_TICKS_MAX: Final = 20
"""Defaults of min/maxSessionTimeout, in ticks, as Apache's."""

PASSWORD_BYTES: Final = 16
"""A session's password; the C client reads exactly this many."""

CONTAINER_CHECK_MS: Final = 60_000
CONTAINER_UNUSED_MS: Final = 300_000
CONTAINER_REAPS_PER_MINUTE: Final = 10_000
"""How often containers and TTL znodes are looked at, when a container that never had a child goes, and how many go at
most; Apache's numbers."""

# --- segments and the log -------------------------------------------------------------------------

SEGMENT_TXNS_MAX: Final = 4_096
"""Txns in one segment: bounds how long one LMDB commit and one turn of applying may take (some 40 ms)."""

SEGMENT_BYTES_MAX: Final = 8 << 20
"""Data in one segment; at least one frame of `FRAME_BYTES_MAX` always fits, because the check comes after the add."""

CLOSE_SESSION_BYTES_MAX: Final = FRAME_BYTES_MAX
"""Paths of ephemeral znodes in one closeSession: as much as one request may bring. What a session owns beyond that is
deleted before it, or a record could grow until no server can read it (ZOOKEEPER-4306)."""

OUTSTANDING_REQUESTS_MAX: Final = 20_000
"""Writes proposed and not yet applied, over all connections; beyond it no connection with one outstanding is read."""

OUTSTANDING_BYTES_MAX: Final = 64 << 20
"""Requests of all those writes together, with the same effect: eight full segments, and no memory to speak of."""

HISTORY_BYTES_MAX: Final = 1 << 30
"""Default disk budget for log and snapshots behind the newest checkpoint; the last verified way back always stays."""

SNAPSHOT_EVERY_S: Final = 60.0
"""The least time between two snapshots, unless the log grows fast. A snapshot costs a copy of the whole tree."""

CHECKPOINT_TXNS: Final = 100_000
"""Default `snapCount`: txns after which a checkpoint is due; replaying as many takes about a second."""

# --- servers among themselves ---------------------------------------------------------------------

PEER_PART_BYTES_MAX: Final = 64 << 10
"""Longer messages between servers travel in parts, so that a heartbeat waits for one part and not for a segment: 64 ms
on a link of 1 MB/s, and on a fast one too few parts to cost anything."""

PEER_HELLO_BYTES_MAX: Final = 2_048
"""Largest first frame of a connection between servers; four addresses fit, and a refusal with its reason. Only who is
proved to be a member may say more."""

PEER_VOTE_BYTES_MAX: Final = 1 << 10
"""Largest message of an election; a vote is a tenth of it."""

PEER_UNSENT_BYTES_MAX: Final = 128 << 20
"""Messages waiting for one server that does not read; then the link is closed. The window of the catch-up and the
snapshot's pace stay far below: it is reached by a mistake, not by a slow network."""

PEER_BULK_BYTES: Final = 1 << 20
"""A snapshot's rows are read on while less than this waits to be sent: some milliseconds of a fast network."""

PEER_HANDSHAKE_TIMEOUT_MS: Final = 5_000
"""For TLS, both introductions and the first word of a link; Apache's `cnxTimeout` has the same default."""

PEER_STRANGERS_MAX: Final = 64
"""Connections at the peer port that have not introduced themselves yet. One more makes way for itself by closing the
oldest from the address with most of them: members take a millisecond, those who linger are no members."""

PEER_VOTES_PER_SECOND_MAX: Final = 1_000
"""Votes from one server; elections send some ten, at the very worst a hundred. More is a flood."""

PEER_SILENCE_TIMEOUT_MS: Final = 10_000
"""How long a peer's machine may leave our bytes or the system's probes unanswered until the system closes the
connection; five ticks, as long as heartbeats are waited for by default."""

# --- agreement ------------------------------------------------------------------------------------

LEARNER_WINDOW_BYTES: Final = 16 << 20
"""Segments sent to one learner that it has not acknowledged: two of the largest, or the 100 ms that a disk may take
on a gigabit network. What does not fit is read from the log later."""

IN_FLIGHT_SEGMENTS_MAX: Final = 64
IN_FLIGHT_BYTES_MAX: Final = 64 << 20
"""Proposed segments that are not yet committed and on the leader's own disk. Enough to keep disks and links busy;
what comes meanwhile gathers in the next segment, which costs no more than a small one."""

EPOCH_COUNTER_MAX: Final = 0xFFFFFFFF - (1 << 20)
"""The last zxids of an epoch at which its leader asks for a new one; what is already numbered fits fifty times."""

EPOCH_MAX: Final = 0x7FFFFFFF
"""zxids are signed 64-bit integers for clients, so an epoch has 31 bits."""

LEARNERS_MAX: Final = 256
"""Links of learners at one leader: as many as there are server ids. Each costs a place in the log and no queue."""

WAITING_LINKS_MAX: Final = 64
"""Learners that dialled before this server knew that it leads; more are turned away and dial again."""

PEER_MESSAGE_BYTES_MAX: Final = 64 << 20
"""One message between servers: the largest segment with a `jute.maxbuffer` of up to 32 MiB, for a multi may copy a
request into several txns; or a snapshot's sessions, a million of them. Members are trusted with this much memory."""

PEER_LIST_MAX: Final = 1 << 20
"""Entries of one list in a message between servers (sessions of a snapshot, claims); only bounds memory."""

PEER_TEXT_BYTES_MAX: Final = 4_096
"""A reason, a scheme or an identity in a message between servers."""

# --- what is kept to answer sooner ----------------------------------------------------------------

LISTINGS_BYTES_MAX: Final = 16 << 20
"""Encoded answers to getChildren of large parents: sixteen of the longest that clients take, or a hundred parents with
10,000 children each. What holds the smallest of them together takes as much again."""

# --- the client library ---------------------------------------------------------------------------

ANSWER_BYTES_MAX: Final = 64 << 20
"""Largest answer that our client takes. Servers do not bound answers; this is a million names of sixty bytes."""

WATCH_EVENTS_MAX: Final = 10_000
"""Events that one `Watch` keeps for a user who does not take them: a burst fits, a forgotten watch stays small."""

SET_WATCHES_BYTES_MAX: Final = 128 << 10
"""Paths in one setWatches after a reconnect: as the Java client, far enough below `FRAME_BYTES_MAX`."""
