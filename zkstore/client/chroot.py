"""Between the user's paths and the server's: str and bytes, and the chroot in front."""

from __future__ import annotations

from typing import NamedTuple

from zkstore.errors import BadArgumentsError


class Chroot(NamedTuple):
    """A prefix that users do not see: "" for none, or an absolute path."""

    prefix: str

    def to_server(self, path: str) -> bytes:
        """The server's path. Raises BadArgumentsError if `path` is not absolute; what else is wrong the server says."""
        if not path.startswith("/"):
            raise BadArgumentsError(path)
        whole = self.prefix if path == "/" and self.prefix else self.prefix + path
        return whole.encode("utf-8", "replace")

    def to_user(self, path: bytes) -> str:
        """The user's path; one that is not below the chroot stays whole."""
        text = path.decode("utf-8", "replace")
        if text == self.prefix:
            return "/"
        if self.prefix and text.startswith(self.prefix + "/"):
            return text[len(self.prefix) :]
        return text
