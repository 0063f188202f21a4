"""Who may log in by SASL, from a file: a JAAS configuration as Apache's server has it, or plain lines. Read anew when
it changes.

    Server {                                                                  # users of `zkstore serve`
        org.apache.zookeeper.server.auth.DigestLoginModule required           alice = her password
        user_alice="her password";                                            bob = his
    };

Messages never hold a password.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio

from zkstore.errors import ConfigError
from zkstore.net.files import LOOK_EVERY_S, FileWatch

logger = logging.getLogger(__name__)

_SETTING: Final = "java.security.auth.login.config"
_COMMENT: Final = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([{};=])|([^\s{};="]+)')
_SECTION: Final = re.compile(r"^\s*\"?[\w.$-]+\"?\s*\{", re.MULTILINE)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_USER: Final = "user_"


class SaslUsers:
    """The users of one file and `fixed` ones. Raises ConfigError if the file does not fit at the start.

    A file that is replaced by one that does not fit changes nothing: the users that were read before stay, and the log
    says why. Who has logged in stays who that is until the connection ends.

    Attributes:
        passwords: by user. Always the same mapping; its content changes with the file.
    """

    def __init__(self, path: Path, section: str, fixed: Mapping[str, str]) -> None:
        self._path = path
        self._section = section
        self._fixed = fixed
        self._file = FileWatch([path])
        self._passwords = {**read(path, section), **fixed}
        self.passwords: Mapping[str, str] = self._passwords

    async def watch(self) -> None:
        """Look at the file every few seconds, until cancelled."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            self.refresh()

    def refresh(self, *, even_if_unchanged: bool = False) -> None:
        """Read the file again if it has changed."""
        if not self._file.has_changed() and not even_if_unchanged:
            return
        try:
            found = read(self._path, self._section)
        except ConfigError as error:
            logger.error("the file of users does not fit; those read before stay in use. %s", error)
            return
        self._passwords.clear()
        self._passwords.update(found)
        self._passwords.update(self._fixed)
        logger.info("read the file of users anew: %s; it names %d", self._path, len(found))


def read(path: Path, section: str) -> dict[str, str]:
    """Passwords by user; `section` is the one of a JAAS file that counts.

    Raises:
        ConfigError: the file cannot be read, does not parse, or names nobody.
    """
    text = _read(path)
    bare = _COMMENT.sub(lambda match: match[1] or " ", text)
    users = _from_jaas(bare, path, section) if _SECTION.search(bare) else _from_lines(text, path)
    if not users:
        raise ConfigError(f'{_SETTING}={path}: it names no user; give lines such as: user_alice="her password"')
    return users


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{_SETTING}={path}: no such file; give the path of a file of users") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_SETTING}={path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{_SETTING}={path}: cannot be read ({error.strerror}); make it readable for us") from None


def _from_lines(text: str, path: Path) -> dict[str, str]:
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, equals, password = (part.strip() for part in line.partition("="))
        if not (user and equals and password):
            raise ConfigError(f"{path}:{number}: no user and password; give lines of the form user = password")
        users[user] = password
    return users


def _from_jaas(text: str, path: Path, section: str) -> dict[str, str]:
    tokens = [(match[2] or "", _unquoted(match)) for match in _TOKEN.finditer(text)]
    marks = [mark for mark, _ in tokens]
    words = [word for _, word in tokens]
    starts = [at for at in range(1, len(tokens)) if marks[at] == "{" and words[at - 1] == section]
    if not starts:
        raise ConfigError(
            f"{_SETTING}={path}: there is no section {section}; add one, or name another by sasl.serverconfig"
        )
    begin = starts[0] + 1
    end = marks.index("}", begin) if "}" in marks[begin:] else -1
    if end < 0:
        raise ConfigError(f"{_SETTING}={path}: the section {section} does not end; close it by }};")
    if any(word.endswith("Krb5LoginModule") for word in words[begin:end]):
        raise ConfigError(
            f"{_SETTING}={path}: the section {section} asks for Kerberos, and zkstore logs in by DIGEST-MD5 only; name "
            "users for org.apache.zookeeper.server.auth.DigestLoginModule"
        )
    return {
        words[at - 1].removeprefix(_USER): words[at + 1]
        for at in range(begin, end - 1)
        if marks[at] == "=" and words[at - 1].startswith(_USER) and not marks[at + 1]
    }


def _unquoted(match: re.Match[str]) -> str:
    quoted: str | None = match[1]
    return match[3] or "" if quoted is None else _ESCAPE.sub(r"\1", quoted)
