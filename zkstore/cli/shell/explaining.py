"""Why an access is refused, or allowed: who we are, what the ACLs give us, and what each operation needs."""

from __future__ import annotations

from typing import Final

from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, check_path
from zkstore.client import Acl
from zkstore.errors import NoAuthError
from zkstore.model import acl as acls
from zkstore.model.acl import Identity

_NEEDS: Final = (
    ("read", acls.READ, "get, exists, ls, watches"),
    ("write", acls.WRITE, "set"),
    ("create", acls.CREATE, "create of children"),
    ("delete", acls.DELETE, "delete of children"),
    ("admin", acls.ADMIN, "setAcl"),
)
_SUPER: Final = "super"


async def _access(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    identities = [Identity(scheme or "", user or "") for scheme, user in await shell.client.who_am_i()]
    names = [f"{identity.scheme}:{identity.id}" for identity in identities]
    shown = [f"you are {', '.join(names) or 'nobody'}", *await _explain(shell, path, identities)]
    value: dict[str, object] = {"path": path, "identities": names}
    acl = await _acl_of(shell, path)
    if acl is not None:
        value["permissions"] = {name: granted_by(acl, bit, identities) for name, bit, _ in _NEEDS}
    return Result("\n".join(shown), value)


async def _explain(shell: Shell, path: str, identities: list[Identity]) -> list[str]:
    """A line for each permission on `path`, and one for its own deletion, which its parent decides."""
    acl = await _acl_of(shell, path)
    if acl is None:
        lines = [f"{path}: its ACL can be seen by those to whom it gives read or admin, and it gives you neither"]
    else:
        lines = [_line(name, f"on {path}", granted_by(acl, bit, identities), use) for name, bit, use in _NEEDS]
    if path != "/":
        parent = path.rpartition("/")[0] or "/"
        above = await _acl_of(shell, parent)
        if above is None:
            lines.append(f"delete of {path} itself needs delete on {parent}, whose ACL you may not see")
        else:
            granted = granted_by(above, acls.DELETE, identities)
            lines.append(_line("delete", f"on {parent}", granted, f"delete of {path} itself"))
    return lines


def _line(permission: str, where: str, granted: list[str], use: str) -> str:
    verdict = f"yes, by {', '.join(granted)}" if granted else "no"
    return f"{permission} {where} ({use}): {verdict}"


async def _acl_of(shell: Shell, path: str) -> tuple[Acl, ...] | None:
    try:
        return (await shell.client.get_acl(path))[0]
    except NoAuthError:
        return None


def granted_by(acl: tuple[Acl, ...], permission: int, identities: list[Identity]) -> list[str]:
    """What gives the permission: `scheme:id` of the ACL's entries, or `super`, which needs none.

    Servers tell of a digest only its user, so that entries of scheme digest are compared by user.
    """
    if any(identity.scheme == _SUPER for identity in identities):
        return [_SUPER]
    if not acl:
        return ["an empty ACL"]
    found = []
    for entry in acl:
        user = entry.id.partition(":")[0] if entry.scheme == "digest" else entry.id
        if acls.allows((entry._replace(id=user),), permission, identities):
            found.append(f"{entry.scheme}:{user}")
    return found


COMMANDS = (Command("access", "path", _access, least=1, most=1),)
