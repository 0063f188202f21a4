"""What gives a permission to whom, as the command `access` tells it."""

from __future__ import annotations

from zkstore.cli.shell.explaining import granted_by
from zkstore.client import OPEN_ACL, Acl
from zkstore.model import acl as acls
from zkstore.model.acl import Identity

ME = [Identity("ip", "10.0.0.7"), Identity("digest", "bob")]


def test_every_entry_that_gives_the_permission_is_named() -> None:
    acl = (
        Acl(1, "world", "anyone"),
        Acl(31, "digest", "bob:x"),
        Acl(31, "digest", "eve:x"),
        Acl(1, "ip", "10.0.0.0/8"),
    )
    assert granted_by(acl, acls.READ, ME) == ["world:anyone", "digest:bob", "ip:10.0.0.0/8"]
    assert granted_by(acl, acls.WRITE, ME) == ["digest:bob"]
    assert granted_by(acl, acls.WRITE, ME[:1]) == []


def test_what_needs_no_entry_is_told_too() -> None:
    assert granted_by(OPEN_ACL, acls.ADMIN, []) == ["world:anyone"]
    assert granted_by((), acls.ADMIN, ME) == ["an empty ACL"]
    assert granted_by((Acl(1, "digest", "eve:x"),), acls.ADMIN, [Identity("super", "")]) == ["super"]
