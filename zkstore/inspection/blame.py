"""Who made a znode what it is: for each of its aspects, the last thing that happened to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zkstore.inspection.history import Version, What

_ASPECTS: Final = {
    What.DATA: "data",
    What.ACL: "acl",
    What.DELETED: "deleted",
    What.CHILD_CREATED: "children",
    What.CHILD_DELETED: "children",
}


def blame(versions: Iterable[Version]) -> dict[str, Version]:
    """The last version of each aspect: "created", "data", "acl", "children", and "deleted" of what is gone; or "found"
    for what was there before history begins. What concerned an older znode of the same path counts only where it is
    all there is."""
    found: dict[str, Version] = {}
    for version in versions:
        if version.what is What.FOUND:
            found = {"found": version}
            continue
        if version.what is What.CREATED:
            found = {"created": version, "data": version}
        else:
            found[_ASPECTS[version.what]] = version
    return found
