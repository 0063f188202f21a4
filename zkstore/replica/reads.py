"""Everything a client can ask that changes nothing but its own watches: answered from the tree as it is.

Each function takes the replica, the conversation, and the request's body; it returns the answer's body, or raises a
RequestError. Reads do not validate paths: a bad path is just absent (protocol: reads).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final

from zkstore.errors import (
    AnswerTooLargeError,
    BadArgumentsError,
    MarshallingError,
    NoAuthError,
    NoNodeError,
    NotReadOnlyError,
    NoWatcherError,
    RequestError,
)
from zkstore.model import acl as acls
from zkstore.model import paths
from zkstore.model.record import image_end, stat_bytes_of
from zkstore.model.watches import EventType
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.multi import TERMINATOR, MultiRequest, encode_error, encode_result
from zkstore.wire.opcodes import AddWatchMode, Opcode
from zkstore.wire.records import (
    AddWatchRequest,
    PathRequest,
    PathWatchRequest,
    RemoveWatchesRequest,
    SetWatches,
    SetWatches2,
)
from zkstore.wire.responses import ClientInfo, WhoAmIResponse, event_frame

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica

_LENGTH: Final = Struct(">i")


def exists(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """exists: a watch is left also where the znode is absent."""
    path, watch = PathWatchRequest.decode(body)
    path = _path(path)
    if b"\0" in path:
        raise BadArgumentsError(path)
    record = replica.tree.records.get(path)
    if record is not None:
        _demand_read(replica, conversation, path)
    if watch:
        replica.watches.watch_data(path, conversation)
    if record is None:
        raise NoNodeError(path)
    return stat_bytes_of(record)


def get_data(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getData: the image is the answer."""
    path, watch = PathWatchRequest.decode(body)
    path = _path(path)
    record = _readable(replica, conversation, path)
    if watch:
        replica.watches.watch_data(path, conversation)
    return record[: image_end(record)]


def get_children(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getChildren: names, in order of their creation."""
    path, watch = PathWatchRequest.decode(body)
    path = _path(path)
    _readable(replica, conversation, path)
    if watch:
        replica.watches.watch_children(path, conversation)
    return _children(replica, path)


def get_children2(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getChildren2: and the Stat."""
    path, watch = PathWatchRequest.decode(body)
    path = _path(path)
    record = _readable(replica, conversation, path)
    if watch:
        replica.watches.watch_children(path, conversation)
    return _children(replica, path) + stat_bytes_of(record)


def get_acl(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getACL: whoever may not administer the znode sees digests without their secret part."""
    path = _path(PathRequest.decode(body).path)
    record = replica.tree.records.get(path)
    if record is None:
        raise NoNodeError(path)
    acl = replica.tree.acl(path)
    if not replica.allows(acl, acls.READ | acls.ADMIN, conversation.identities):
        raise NoAuthError(path)
    if not replica.allows(acl, acls.ADMIN, conversation.identities):
        acl = acls.redact(acl)
    return _within_frame(replica, path, jute.acl(acl) + stat_bytes_of(record))


def sync(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """sync: the path comes back, whatever it is."""
    if replica.role.is_read_only:
        raise NotReadOnlyError
    return jute.buffer(PathRequest.decode(body).path)


def get_all_children_number(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getAllChildrenNumber: all descendants, however deep."""
    path = _path(PathRequest.decode(body).path)
    _readable(replica, conversation, path)
    if path == paths.ROOT:
        return _LENGTH.pack(len(replica.tree.records) - 1)
    children = replica.tree.children
    count, generation = 0, [path]
    while generation:
        generation = [child for parent in generation for child in children.get(parent, ())]
        count += len(generation)
    return _LENGTH.pack(count)


def get_ephemerals(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """getEphemerals: this session's own, by a plain string prefix."""
    prefix = PathRequest.decode(body).path or b""
    owned = replica.tree.ephemerals.get(conversation.session_id, ())
    return jute.buffers([path for path in owned if prefix.strip() in (b"", b"/") or path.startswith(prefix)])


def who_am_i(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """whoAmI: every identity of this connection."""
    infos = [ClientInfo(identity.scheme, acls.user_name(identity)) for identity in conversation.identities]
    return WhoAmIResponse(tuple(infos)).encode()


def multi_read(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """multiRead: each operation for itself; watch flags are ignored."""
    results = []
    for opcode, request in MultiRequest.decode(body, Opcode.MULTI_READ).ops:
        try:
            path = _path(request.path)
            record = _readable(replica, conversation, path)
        except RequestError as error:
            results.append(encode_error(error.code))
            continue
        is_data = opcode == Opcode.GET_DATA
        results.append(encode_result(opcode, record[: image_end(record)] if is_data else _children(replica, path)))
    return b"".join(results) + TERMINATOR


# --- watches --------------------------------------------------------------------------------------


def set_watches(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """setWatches: a reconnected client's watches; what happened while it was away is told at once."""
    _set_watches(replica, conversation, SetWatches.decode(body))
    return b""


def set_watches2(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """setWatches2: persistent ones, too; for these nothing is told."""
    request = SetWatches2.decode(body)
    for path in request.persistent:
        replica.watches.add_persistent(path, conversation, recursive=False)
    for path in request.persistent_recursive:
        replica.watches.add_persistent(path, conversation, recursive=True)
    _set_watches(replica, conversation, SetWatches(*request[:4]))
    return b""


def _set_watches(replica: Replica, conversation: Conversation, request: SetWatches) -> None:
    tree, watches = replica.tree, replica.watches
    missed: list[tuple[EventType, bytes]] = []
    for path in map(_path, request.data):
        if path not in tree.records:
            missed.append((EventType.DELETED, path))
        elif tree.stat(path).mzxid > request.relative_zxid:
            missed.append((EventType.DATA_CHANGED, path))
        else:
            watches.watch_data(path, conversation)
    for path in map(_path, request.exist):
        if path in tree.records:
            missed.append((EventType.CREATED, path))
        else:
            watches.watch_data(path, conversation)
    for path in map(_path, request.child):
        if path not in tree.records:
            missed.append((EventType.DELETED, path))
        elif tree.stat(path).pzxid > request.relative_zxid:
            missed.append((EventType.CHILDREN_CHANGED, path))
        else:
            watches.watch_children(path, conversation)
    # Last, because too many events end the conversation, which then must not register anything more.
    for event_type, path in missed:
        conversation.tell(event_frame(event_type, path, -1))


def add_watch(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """addWatch: the path is not checked; the answer's body is an error code of 0."""
    request = AddWatchRequest.decode(body)
    path = _path(request.path)
    if request.mode not in (AddWatchMode.PERSISTENT, AddWatchMode.PERSISTENT_RECURSIVE):
        raise MarshallingError(path)
    replica.watches.add_persistent(path, conversation, recursive=request.mode == AddWatchMode.PERSISTENT_RECURSIVE)
    return _LENGTH.pack(0)


def check_watches(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """checkWatches: NoWatcherError unless there is one."""
    request = RemoveWatchesRequest.decode(body)
    path = _watched(request.path)
    if not replica.watches.has(path, conversation, request.type):
        raise NoWatcherError(path)
    return b""


def remove_watches(replica: Replica, conversation: Conversation, body: Reader) -> bytes:
    """removeWatches: NoWatcherError where there is none."""
    request = RemoveWatchesRequest.decode(body)
    path = _watched(request.path)
    if not replica.watches.remove(path, conversation, request.type):
        raise NoWatcherError(path)
    return b""


# --- parts ----------------------------------------------------------------------------------------


def _path(path: bytes | None) -> bytes:
    """ZooKeeper finds the root under the empty string, too."""
    if path is None:
        raise MarshallingError
    return path or paths.ROOT


def _watched(path: bytes | None) -> bytes:
    """Nobody can watch at null: that is not found, and no error of its own."""
    return b"" if path is None else _path(path)


def _readable(replica: Replica, conversation: Conversation, path: bytes) -> bytes:
    record = replica.tree.records.get(path)
    if record is None:
        raise NoNodeError(path)
    _demand_read(replica, conversation, path)
    return record


def _demand_read(replica: Replica, conversation: Conversation, path: bytes) -> None:
    extras = replica.tree.special.get(path)
    if extras is not None and not replica.allows(extras.acl, acls.READ, conversation.identities):
        raise NoAuthError(path)


def _children(replica: Replica, parent: bytes) -> bytes:
    """The vector of a znode's children's names."""
    return _within_frame(replica, parent, replica.listings.of(parent))


def _within_frame(replica: Replica, path: bytes, answer: bytes) -> bytes:
    """Only what depends on many znodes or entries can grow beyond what one request could write."""
    if len(answer) > replica.frame_bytes_max:
        raise AnswerTooLargeError(path, len(answer), replica.frame_bytes_max)
    return answer


READS: Final[dict[int, Callable[[Replica, Conversation, Reader], bytes]]] = {
    Opcode.EXISTS: exists,
    Opcode.GET_DATA: get_data,
    Opcode.GET_CHILDREN: get_children,
    Opcode.GET_CHILDREN2: get_children2,
    Opcode.GET_ACL: get_acl,
    Opcode.SYNC: sync,
    Opcode.GET_ALL_CHILDREN_NUMBER: get_all_children_number,
    Opcode.GET_EPHEMERALS: get_ephemerals,
    Opcode.WHO_AM_I: who_am_i,
    Opcode.MULTI_READ: multi_read,
    Opcode.SET_WATCHES: set_watches,
    Opcode.SET_WATCHES2: set_watches2,
    Opcode.ADD_WATCH: add_watch,
    Opcode.CHECK_WATCHES: check_watches,
    Opcode.REMOVE_WATCHES: remove_watches,
}
