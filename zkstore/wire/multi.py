"""multi and multiRead: several operations in one request, several results in one answer.

Both are a sequence of MultiHeader (int type, boolean done, int code) + record, ended by a header that says done.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from zkstore.errors import MarshallingError, ProtocolError
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathWatchRequest,
    SetDataRequest,
)
from zkstore.wire.responses import ChildrenResponse, CreatedResponse, DataResponse, PathResponse, StatResponse

WriteRequest = CreateRequest | CreateTtlRequest | DeleteRequest | SetDataRequest | CheckVersionRequest
OpRequest = WriteRequest | PathWatchRequest
OpResponse = PathResponse | CreatedResponse | StatResponse | DataResponse | ChildrenResponse

_HEADER: Final = struct.Struct(">i?i")

TERMINATOR: Final = _HEADER.pack(-1, True, -1)
"""Ends the operations and the results alike."""

_WRITES: Final[dict[int, type[WriteRequest]]] = {
    Opcode.CREATE: CreateRequest,
    Opcode.CREATE2: CreateRequest,
    Opcode.CREATE_CONTAINER: CreateRequest,
    Opcode.CREATE_TTL: CreateTtlRequest,
    Opcode.DELETE: DeleteRequest,
    Opcode.SET_DATA: SetDataRequest,
    Opcode.CHECK: CheckVersionRequest,
}
_READS: Final[dict[int, type[PathWatchRequest]]] = {
    Opcode.GET_DATA: PathWatchRequest,
    Opcode.GET_CHILDREN: PathWatchRequest,
}

_RESPONSES: Final[dict[int, type[OpResponse] | None]] = {
    Opcode.CREATE: PathResponse,
    Opcode.CREATE2: CreatedResponse,
    Opcode.DELETE: None,
    Opcode.SET_DATA: StatResponse,
    Opcode.CHECK: None,
    Opcode.GET_DATA: DataResponse,
    Opcode.GET_CHILDREN: ChildrenResponse,
}

_FLAGS: Final = frozenset(CreateMode)
_TTL_FLAGS: Final = frozenset({CreateMode.TTL, CreateMode.TTL_SEQUENTIAL})


class Op(NamedTuple):
    """One operation of a multi."""

    opcode: int
    request: OpRequest


class MultiRequest(NamedTuple):
    """The body of multi (writes, all or nothing) or of multiRead (reads, each for itself)."""

    ops: tuple[Op, ...]

    @classmethod
    def decode(cls, reader: Reader, opcode: int = Opcode.MULTI) -> MultiRequest:
        """Read the operations of a request with that `opcode`, which is MULTI or MULTI_READ.

        Raises `MarshallingError` for an operation that this opcode does not take, a null path, an invalid create flag,
        or a missing terminator; `TruncatedRecordError` where an operation is cut.
        """
        known = _READS if opcode == Opcode.MULTI_READ else _WRITES
        ops: list[Op] = []
        while reader.remaining:
            kind, done, _ = _read_header(reader)
            if done:
                return cls(tuple(ops))
            record = known.get(kind)
            if record is None:
                raise MarshallingError
            ops.append(_op(kind, record.decode(reader)))
        raise MarshallingError

    def encode(self) -> bytes:
        return b"".join([_HEADER.pack(op.opcode, False, -1) + op.request.encode() for op in self.ops]) + TERMINATOR


class Result(NamedTuple):
    """What came of one operation.

    `code` 0 and `opcode` not ERROR: it was done, and `response` is its answer (None for delete and check). Otherwise
    `opcode` is ERROR and `code` says why: 0 was fine but rolled back, -2 was not tried, anything else is the failure.
    """

    opcode: int
    code: int
    response: OpResponse | None


class MultiResponse(NamedTuple):
    """One result per operation, in order."""

    results: tuple[Result, ...]

    @classmethod
    def decode(cls, reader: Reader) -> MultiResponse:
        """Read until the terminator; an unknown type is a `ProtocolError`, since where it ends is unknown, too."""
        results: list[Result] = []
        while True:
            kind, done, _ = _read_header(reader)
            if done:
                return cls(tuple(results))
            if kind == Opcode.ERROR:
                results.append(Result(kind, reader.int32(), None))
            elif kind in _RESPONSES:
                record = _RESPONSES[kind]
                results.append(Result(kind, 0, None if record is None else record.decode(reader)))
            else:
                raise ProtocolError(f"a multi's result of the unknown type {kind}")

    def encode(self) -> bytes:
        return b"".join([_encode(result) for result in self.results]) + TERMINATOR


def encode_result(opcode: int, body: bytes) -> bytes:
    """One successful result, from the operation's opcode and its encoded answer (b"" for delete and check)."""
    created = opcode in (Opcode.CREATE_CONTAINER, Opcode.CREATE_TTL)
    return _HEADER.pack(Opcode.CREATE2 if created else opcode, False, 0) + body


def encode_error(code: int) -> bytes:
    """One error result. The code stands twice: the Java client reads the header's, the C client the body's."""
    return _HEADER.pack(Opcode.ERROR, False, code) + jute.int32(code)


def _op(opcode: int, request: OpRequest) -> Op:
    """An operation as the server takes it: in a multi a create's flags count for more than its opcode.

    They alone decide whether it makes a container, a TTL znode needs an opcode that brings the time, and that opcode
    without a flag for a TTL znode is a plain create.
    """
    if request.path is None:
        raise MarshallingError
    if isinstance(request, CreateTtlRequest) and request.flags not in _TTL_FLAGS:
        opcode, request = Opcode.CREATE, CreateRequest(*request[:4])
    elif isinstance(request, CreateRequest) and (request.flags not in _FLAGS or request.flags in _TTL_FLAGS):
        raise MarshallingError
    if isinstance(request, CreateRequest) and request.flags == CreateMode.CONTAINER:
        opcode = Opcode.CREATE_CONTAINER
    return Op(opcode, request)


def _encode(result: Result) -> bytes:
    if result.opcode == Opcode.ERROR:
        return encode_error(result.code)
    return encode_result(result.opcode, b"" if result.response is None else result.response.encode())


def _read_header(reader: Reader) -> tuple[int, bool, int]:
    return reader.int32(), reader.boolean(), reader.int32()
