"""Every exception of zkstore, in families by whose fault it is.

    ZkStoreError
    ├── RequestError     a client asked for what cannot be done; carries ZooKeeper's code
    ├── ProtocolError    bytes that break the protocol: the other side's fault
    ├── StorageError     the disk or what lies on it; carries where
    ├── InvariantError   an invariant of the ensemble is broken; carries which and where
    ├── ConfigError      a setting that makes no sense; the message says which and what to do
    └── ClientError      raised by `zkstore.client`: the connection or the session is gone

An impossible state is none of these: it is an assertion, and a replica that meets one stops.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class ZkStoreError(Exception):
    """The root: whatever zkstore raises on purpose."""


# --- the client's fault ---------------------------------------------------------------------------


class RequestError(ZkStoreError):
    """A request that fails with one of ZooKeeper's codes. Abstract: only the classes below are raised."""

    code: ClassVar[int]
    name: ClassVar[str]
    by_code: ClassVar[dict[int, type[RequestError]]] = {}

    def __init_subclass__(cls, *, code: int, name: str) -> None:
        cls.code = code
        cls.name = name
        RequestError.by_code.setdefault(code, cls)

    def __init__(self, path: bytes | str | None = None) -> None:
        self.path = path.decode("utf-8", "replace") if isinstance(path, bytes) else path
        super().__init__(f"{self.name} for {self.path}" if self.path else self.name)


class RuntimeInconsistencyError(RequestError, code=-2, name="RuntimeInconsistency"):
    """An operation of a multi that was not tried because an earlier one failed."""


class MarshallingError(RequestError, code=-5, name="MarshallingError"):
    """A request body that does not parse; the connection goes on."""


class AnswerTooLargeError(MarshallingError, code=-5, name="MarshallingError"):
    """An answer longer than the frames that clients take; they would drop the connection, again at every attempt."""

    def __init__(self, path: bytes, size: int, size_max: int) -> None:
        super().__init__(path)
        self.size = size
        self.size_max = size_max

    def __str__(self) -> str:
        return f"the answer for {self.path} has {self.size} bytes; jute.maxbuffer allows {self.size_max}"


class UnimplementedError(RequestError, code=-6, name="Unimplemented"):
    """An opcode or kind of znode that this server does not serve; the connection goes on."""


class BadArgumentsError(RequestError, code=-8, name="BadArguments"):
    """An invalid path, create flag or TTL."""


class NewConfigNoQuorumError(RequestError, code=-13, name="NewConfigNoQuorum"):
    """A change of the members, of whom no quorum is in step with the leader."""


class ReconfigInProgressError(RequestError, code=-14, name="ReconfigInProgress"):
    """A change of the members while another one is under way."""


class NoNodeError(RequestError, code=-101, name="NoNode"):
    """The znode, or for a create its parent, does not exist."""


class NoAuthError(RequestError, code=-102, name="NoAuth"):
    """The ACL gives none of this connection's identities the permission."""


class BadVersionError(RequestError, code=-103, name="BadVersion"):
    """A conditional write named a version that is not the znode's own."""


class NoChildrenForEphemeralsError(RequestError, code=-108, name="NoChildrenForEphemerals"):
    """A create under an ephemeral znode."""


class NodeExistsError(RequestError, code=-110, name="NodeExists"):
    """A create of a znode that is there."""


class NotEmptyError(RequestError, code=-111, name="Directory not empty"):
    """A delete of a znode that has children."""


class SessionExpiredError(RequestError, code=-112, name="Session expired"):
    """The session is closing or gone."""


class InvalidAclError(RequestError, code=-114, name="InvalidACL"):
    """An empty ACL list, an unknown scheme or an id that its scheme does not accept."""


class AuthFailedError(RequestError, code=-115, name="AuthFailed"):
    """An auth packet with a scheme or credential that nobody accepts; the connection is closed after the answer."""


class SessionMovedError(RequestError, code=-118, name="Session moved"):
    """A write that came by a server which the session's client has left for another one; the connection is closed."""


class NotReadOnlyError(RequestError, code=-119, name="NotReadOnly"):
    """A write on a server that only reads."""


class EphemeralOnLocalSessionError(RequestError, code=-120, name="Ephemeral node created on local session"):
    """An ephemeral of a session that only the client's own server knows, and may not make known to all."""


class NoWatcherError(RequestError, code=-121, name="No such watcher"):
    """A watch to be checked or removed that this connection does not have."""


class ReconfigDisabledError(RequestError, code=-123, name="Reconfig is disabled"):
    """A change of the ensemble's members on a server that does not take them from clients."""


class AuthRequiredError(RequestError, code=-124, name="Session closed because client failed to authenticate"):
    """A request of a client that has proved no identity that the server demands; the connection is closed."""


class QuotaExceededError(RequestError, code=-125, name="Quota has exceeded"):
    """A write that would pass a hard quota."""


class ThrottledOpError(RequestError, code=-127, name="Op throttled due to high load"):
    """A request that waited longer than the server's throttling allows."""


class SystemFailureError(RequestError, code=-1, name="SystemError"):
    """The server has no disk space or memory for a write; nothing of it happened, a later try may succeed."""


# --- the other side's bytes -----------------------------------------------------------------------


class ProtocolError(ZkStoreError):
    """Bytes on a connection that no well-behaved peer sends; the connection is closed, the others go on."""


class TruncatedRecordError(ProtocolError):
    """A record ends before its last field."""


class PeerMessageError(ProtocolError):
    """A message between servers that is none, or that has no place at this point of their conversation."""


# --- the disk's -----------------------------------------------------------------------------------


class StorageError(ZkStoreError):
    """The disk, or what lies on it. `where` is the file or directory; `advice` says what to do."""

    def __init__(self, message: str, *, where: Path | str | None = None, advice: str | None = None) -> None:
        parts = [f"{where}: {message}" if where is not None else message]
        if advice:
            parts.append(advice)
        super().__init__(". ".join(parts))
        self.where = where
        self.advice = advice


class DirectoryInUseError(StorageError):
    """Another server owns the data directory."""


class DirectoryUnusableError(StorageError):
    """The data directory cannot be created, written or recognised as ours."""


class FormatTooNewError(StorageError):
    """Written by a newer zkstore than this one."""


class DamageError(StorageError):
    """What was read is not what was written. `zxid` is the first one that is not trustworthy, where known."""

    def __init__(
        self, message: str, *, zxid: int | None = None, where: Path | str | None = None, advice: str | None = None
    ) -> None:
        super().__init__(message if zxid is None else f"{message} at zxid {zxid:#x}", where=where, advice=advice)
        self.zxid = zxid


class MisplacedError(DamageError):
    """Directories that do not belong together: a setting is wrong far more often than that anything is lost."""


class MovedOnError(StorageError):
    """A running server wrote on pages while they were read without its help: what was read is of no use, read again."""


class DiskFullError(StorageError):
    """No space left. What was to be written is not there; everything before it is."""


class InvariantError(ZkStoreError):
    """What can never be, if the servers and this code do what they should: this server must not go on.

    `invariant` names it (I1 ... I21), `zxid` says where.
    """

    def __init__(self, invariant: str, zxid: int, text: str) -> None:
        super().__init__(f"{invariant} is broken at zxid {zxid:#x}: {text}")
        self.invariant = invariant
        self.zxid = zxid
        self.text = text


# --- settings -------------------------------------------------------------------------------------


class ConfigError(ZkStoreError):
    """A setting that makes no sense. The message names the key, its value, where it stands and what would do."""


class MemberIdError(ConfigError):
    """A list of servers in a request to change the ensemble names one by what is no number."""


class MemberIdRangeError(ConfigError):
    """A server is named by a number that is too large for this ensemble, though not for ZooKeeper."""


# --- the client library's -------------------------------------------------------------------------


class ClientError(ZkStoreError):
    """Raised by `zkstore.client` when the connection rather than the request failed."""


class ConnectionLossError(ClientError):
    """The connection broke while the request was under way: it may or may not have happened."""


class SessionLostError(ClientError):
    """The session expired or was closed; its ephemerals and watches are gone."""


class HistoryError(ClientError):
    """A server does not show its history, or what was asked for is not in it."""


class WatchOverflowError(ClientError):
    """Nobody took a Watch's events for so long that one had to be dropped; read what it watched afresh."""
