"""Writes as records: the choice of opcode for a create, and transactions of several writes."""

from __future__ import annotations

from zkstore.client.chroot import Chroot
from zkstore.client.session import Session
from zkstore.errors import BadArgumentsError, ClientError, RequestError, RuntimeInconsistencyError, ZkStoreError
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.stat import Stat
from zkstore.wire.multi import MultiRequest, MultiResponse, Op, Result
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    SetDataRequest,
)
from zkstore.wire.responses import CreatedResponse, PathResponse, StatResponse


def error_for(code: int, path: str | None) -> ZkStoreError:
    """The exception for a code in an answer."""
    kind = RequestError.by_code.get(code)
    if kind is None:
        return ClientError(f"the server answered with code {code}" + (f" for {path}" if path else ""))
    return kind(path)


def create_operation(
    path: bytes,
    data: bytes | None,
    acl: tuple[Acl, ...],
    *,
    ephemeral: bool = False,
    sequential: bool = False,
    container: bool = False,
    ttl_ms: int | None = None,
) -> Op:
    """The opcode and record of a create. Raises BadArgumentsError for kinds that exclude each other."""
    if sum((ephemeral, container, ttl_ms is not None)) > 1 or (container and sequential):
        raise BadArgumentsError(path)
    if ttl_ms is not None:
        mode = CreateMode.TTL_SEQUENTIAL if sequential else CreateMode.TTL
        return Op(Opcode.CREATE_TTL, CreateTtlRequest(path, data, acl, mode, ttl_ms))
    if container:
        return Op(Opcode.CREATE_CONTAINER, CreateRequest(path, data, acl, CreateMode.CONTAINER))
    if sequential:
        mode = CreateMode.EPHEMERAL_SEQUENTIAL if ephemeral else CreateMode.PERSISTENT_SEQUENTIAL
    else:
        mode = CreateMode.EPHEMERAL if ephemeral else CreateMode.PERSISTENT
    return Op(Opcode.CREATE, CreateRequest(path, data, acl, mode))


class Transaction:
    """Collects writes; `commit` sends them as one. Nothing happens before."""

    def __init__(self, session: Session, chroot: Chroot) -> None:
        self._session = session
        self._chroot = chroot
        self._ops: list[Op] = []
        self._paths: list[str] = []

    def __len__(self) -> int:
        return len(self._ops)

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: tuple[Acl, ...] = OPEN_ACL,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl_ms: int | None = None,
    ) -> Transaction:
        """Create a znode; the result is its path."""
        server_path = self._chroot.to_server(path)
        op = create_operation(
            server_path, data, acl, ephemeral=ephemeral, sequential=sequential, container=container, ttl_ms=ttl_ms
        )
        return self._add(path, op)

    def set(self, path: str, data: bytes | None, *, version: int = -1) -> Transaction:
        """Replace a znode's data; the result is its Stat."""
        return self._add(path, Op(Opcode.SET_DATA, SetDataRequest(self._chroot.to_server(path), data, version)))

    def delete(self, path: str, *, version: int = -1) -> Transaction:
        """Delete a znode; the result is None."""
        return self._add(path, Op(Opcode.DELETE, DeleteRequest(self._chroot.to_server(path), version)))

    def check(self, path: str, *, version: int = -1) -> Transaction:
        """Fail the whole unless the znode is there with `version` (-1: with any); the result is None."""
        return self._add(path, Op(Opcode.CHECK, CheckVersionRequest(self._chroot.to_server(path), version)))

    async def commit(self) -> list[str | Stat | None]:
        """Do it all; return one result per write, in order.

        Raises the RequestError of the first write that could not be done, with a note saying which one; then none was.
        """
        reply = await self._session.request(Opcode.MULTI, MultiRequest(tuple(self._ops)).encode())
        if reply.code != 0:
            raise error_for(reply.code, None)
        results = MultiResponse.decode(reply.body).results
        for number, (result, path) in enumerate(zip(results, self._paths, strict=True)):
            if result.code not in (0, RuntimeInconsistencyError.code):
                error = error_for(result.code, path)
                error.add_note(f"write {number + 1} of {len(results)} in a transaction; none of them was done")
                raise error
        return [self._value(result) for result in results]

    def _add(self, path: str, op: Op) -> Transaction:
        self._ops.append(op)
        self._paths.append(path)
        return self

    def _value(self, result: Result) -> str | Stat | None:
        match result.response:
            case PathResponse(path) | CreatedResponse(path, _):
                return self._chroot.to_user(path or b"")
            case StatResponse(stat):
                return stat
            case _:
                return None
