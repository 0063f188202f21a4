"""The numbers of the client protocol: opcodes, xids with a meaning of their own, flags and modes.

Those that concern watches and what fires them are the model's: `zkstore.model.watches`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Opcode(IntEnum):
    """What a request asks for (RequestHeader.type). Numbers that are missing here are unknown to servers, too."""

    NOTIFICATION = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13  # inside a multi only
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20  # servers' own, never a client's
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    ERROR = -1  # as the type of a multi's result, and of its terminator
    CREATE_SESSION = -10  # servers' own, never a client's
    CLOSE_SESSION = -11


WRITES: Final = frozenset(
    {
        Opcode.CREATE,
        Opcode.CREATE2,
        Opcode.CREATE_CONTAINER,
        Opcode.CREATE_TTL,
        Opcode.DELETE,
        Opcode.SET_DATA,
        Opcode.SET_ACL,
        Opcode.MULTI,
        Opcode.RECONFIG,
        Opcode.CLOSE_SESSION,
    }
)
"""Requests that the leader decides on; all others are answered by the server that the client is connected to."""

PLAIN_CREATES: Final = frozenset({Opcode.CREATE, Opcode.CREATE2})

XID_NOTIFICATION: Final = -1
XID_PING: Final = -2
XID_AUTH: Final = -4
XID_SET_WATCHES: Final = -8


class CreateMode(IntEnum):
    """CreateRequest.flags."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    TTL = 5
    TTL_SEQUENTIAL = 6


EPHEMERAL_MODES: Final = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})
"""Those of znodes that a session owns."""

STATE_SYNC_CONNECTED: Final = 3
"""WatcherEvent.state: what servers always send; its `type` is the model's `EventType`."""


class AddWatchMode(IntEnum):
    """AddWatchRequest.mode."""

    PERSISTENT = 0
    PERSISTENT_RECURSIVE = 1
