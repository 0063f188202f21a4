"""A tree as lines of JSON, to be read and written by any program.

    {"format": "zkstore tree", "version": 1, "zxid": "0x2a", "digest": "...", "epochs": [1, 1]}   the first line
    {"session": "0x...", "timeout_ms": 30000, "password": "..."}                  one for each session
    {"path": "/a", "data": "text", "stat": {...}, "acl": [...], "owner": "0x0"}    one for each znode, parents first

Numbers of 64 bits are hexadecimal strings, for many readers of JSON take no more than 53 bits; so are passwords. Data
that is not UTF-8 stands under "data_base64" instead, and such a path under "path_base64"; null is null. In "acl" each
entry is [permissions, scheme, id]. "owner" tells what the Stat does not show: containers and TTL znodes.

What is written is read back to the same digest. Lines that were changed by hand are taken if the digest is taken out of
the first line; a znode needs its path only, then.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple
from zlib import crc32

from zkstore.errors import BadArgumentsError, DamageError, FormatTooNewError, StorageError
from zkstore.exchange.apache.conversion import password_of
from zkstore.exchange.content import Content, checked
from zkstore.exchange.drafts import draft
from zkstore.model import paths
from zkstore.model import record as records_
from zkstore.model.acl import OPEN_ACL, Acl
from zkstore.model.apply import is_stored_only
from zkstore.model.stat import Stat
from zkstore.model.tree import SessionRecord, Tree, session_digest
from zkstore.storage.directory import refuse_newer, translated
from zkstore.storage.image import collector_paused
from zkstore.storage.log import Epochs

FORMAT: Final = "zkstore tree"
FORMAT_VERSION: Final = 1

_PROGRESS_LINES: Final = 100_000
_ZXIDS: Final = ("czxid", "mzxid", "pzxid")
_COUNTED: Final = ("data_length", "num_children")
_CHILD_COUNT: Final = Struct(">i")
_CHILD_COUNT_FROM_IMAGE_END: Final = 12


class Lines(NamedTuple):
    """What a file of lines holds."""

    records: dict[bytes, bytes]
    sessions: dict[int, SessionRecord]
    zxid: int
    epochs: Epochs


# --- writing --------------------------------------------------------------------------------------


def write(content: Content, epochs: Epochs, out: Path, progress: Callable[[str], None]) -> int:
    """Write a new file; returns how many znodes are in it. Raises StorageError."""
    if out.exists():
        raise StorageError("this exists, and nothing is ever overwritten", where=out, advice="Name a new file")
    count = 0
    with draft(out) as file:
        for line in lines(content, epochs):
            file.write(line)
            if b'"path' in line[:8]:
                count += 1
                if count % _PROGRESS_LINES == 0:
                    progress(f"{count:,} znodes written")
    return count


def lines(content: Content, epochs: Epochs) -> Iterator[bytes]:
    """All lines, each with its end."""
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "zxid": _hex(content.zxid),
        "digest": f"{content.digest:016x}",
        "epochs": list(epochs),
    }
    yield _line(header)
    for number, session in content.sessions.items():
        yield _line({"session": _hex(number), "timeout_ms": session.timeout_ms, "password": session.password.hex()})
    for path, record in checked(content):
        yield _line(as_json(path, record))


def as_json(path: bytes, record: bytes) -> dict[str, Any]:
    """A znode as it stands in its line."""
    stat, extras = records_.stat_of(record), records_.extras_of(record)
    acl = OPEN_ACL if extras is None else extras.acl
    shown: dict[str, Any] = stat._asdict()
    for name in (*_ZXIDS, "ephemeral_owner"):
        shown[name] = _hex(shown[name])
    return {
        **_text("path", path),
        **_text("data", records_.data_of(record)),
        "stat": shown,
        "acl": [list(entry) for entry in acl],
        "owner": _hex(stat.ephemeral_owner if extras is None else extras.owner),
    }


def _text(name: str, raw: bytes | None) -> dict[str, str | None]:
    if raw is None:
        return {name: None}
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(raw).decode()}


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _hex(number: int) -> str:
    """Of a negative one its 64 bits, as ZooKeeper prints them."""
    return f"{number & 0xFFFFFFFFFFFFFFFF:#x}"


# --- reading --------------------------------------------------------------------------------------


def read(file: Path, progress: Callable[[str], None]) -> Lines:
    """The whole content of a file. Raises DamageError, which names the line, FormatTooNewError and StorageError."""
    try:
        with file.open("rb") as content, collector_paused():
            return _Reading(file, progress).read(content)
    except OSError as error:
        raise translated(error, file) from error


class _Reading:
    def __init__(self, file: Path, progress: Callable[[str], None]) -> None:
        self._file = file
        self._progress = progress
        self._records: dict[bytes, bytes] = {}
        self._sessions: dict[int, SessionRecord] = {}
        self._is_proved = False  # a digest will tell whether all is as it was in a server

    def read(self, content: Iterator[bytes]) -> Lines:
        zxid, digest, epochs = self._header(next(content, b""))
        self._is_proved = digest is not None
        for number, line in enumerate(content, 2):
            if not line.strip():
                continue
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, BadArgumentsError) as error:
                raise self._damage(number, error) from error
            if number % _PROGRESS_LINES == 0:
                self._progress(f"{number:,} lines read")
        for path, record in Tree.new().records.items():
            self._records.setdefault(path, record)
        self._count_children()
        self._refuse_orphans()
        self._check_digest(digest)
        return Lines(self._records, self._sessions, zxid, epochs)

    def _header(self, line: bytes) -> tuple[int, int | None, Epochs]:
        try:
            header = json.loads(line)
            if header["format"] != FORMAT:
                raise ValueError(f"the format is {header['format']!r}")
            refuse_newer(int(header["version"]), FORMAT_VERSION, self._file)
            digest = header.get("digest")
            epochs = Epochs(*map(int, header.get("epochs", (0, 0))))
            return int(header["zxid"], 16), None if digest is None else int(digest, 16), epochs
        except FormatTooNewError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamageError(
                f"the first line does not say that this is a tree in JSON lines ({error!r})",
                where=self._file,
                advice="Name a file that `zkstore export --format jsonl` has written",
            ) from error

    def _take(self, line: Mapping[str, Any]) -> None:
        """One session or one znode."""
        if "session" in line:
            number = _number(line["session"])
            password = bytes.fromhex(line["password"]) if "password" in line else password_of(number)
            self._sessions[number] = SessionRecord(int(line["timeout_ms"]), password)
            return
        path = _bytes(line, "path")
        if path is None:
            raise ValueError("a path cannot be null")
        if not self._is_proved:
            paths.check(path)
        if path in self._records:
            raise ValueError(f"{path!r} stands in two lines")
        self._records[path] = record_of(line)

    def _count_children(self) -> None:
        """Whatever the lines say: data and children are counted."""
        records = self._records
        counts = Counter(paths.parent_of(path) for path in records if path != paths.ROOT)
        for parent in counts:
            if parent not in records:
                raise StorageError(
                    f"there are children of {parent.decode(errors='replace')}, and no line for itself",
                    where=self._file,
                    advice="Add one",
                )
        for path, record in records.items():
            at = records_.image_end(record) - _CHILD_COUNT_FROM_IMAGE_END
            count = _CHILD_COUNT.pack(counts.get(path, 0))
            if record[at : at + 4] != count:
                records[path] = record[:at] + count + record[at + 4 :]

    def _refuse_orphans(self) -> None:
        """An ephemeral without a session would stay for ever."""
        for path, record in self._records.items():
            owner = records_.stat_of(record).ephemeral_owner
            if owner and owner not in self._sessions:
                raise StorageError(
                    f"{path.decode(errors='replace')} is an ephemeral of the session {_hex(owner)}, which has no line",
                    where=self._file,
                    advice="Add one, or make its owner 0x0",
                )

    def _check_digest(self, digest: int | None) -> None:
        if digest is None:
            return
        found = sum(session_digest(number, session) for number, session in self._sessions.items())
        found += sum(crc32(record, crc32(path)) for path, record in self._records.items())
        found &= 0xFFFFFFFFFFFFFFFF
        if found != digest:
            raise DamageError(
                f"the tree's digest is {found:016x}, the first line says {digest:016x}",
                where=self._file,
                advice="Lines were changed or lost. If you meant to change them, take the digest out of the first line",
            )

    def _damage(self, number: int, error: Exception) -> DamageError:
        what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        return DamageError(
            f"line {number} is neither a session nor a znode ({what})",
            where=self._file,
            advice="Correct it, or export the tree again",
        )


def record_of(line: Mapping[str, Any]) -> bytes:
    """The record that a line describes, with no children. Raises ValueError and its like for one that cannot be."""
    data = _bytes(line, "data") if "data" in line or "data_base64" in line else b""
    fields = {name: value for name, value in line.get("stat", {}).items() if name not in _COUNTED}
    for name in (*_ZXIDS, "ephemeral_owner"):
        if name in fields:
            fields[name] = _number(fields[name])
    owner = _number(line["owner"]) if "owner" in line else fields.get("ephemeral_owner", 0)
    fields["ephemeral_owner"] = 0 if is_stored_only(owner) else owner
    defaults = Stat(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    unknown = fields.keys() - set(defaults._fields)
    if unknown:
        raise ValueError(f"a Stat has no {', '.join(sorted(unknown))}")
    stat = defaults._replace(**fields, data_length=len(data or b""))
    acl = tuple([Acl(int(perms), str(scheme), str(id_)) for perms, scheme, id_ in line.get("acl", OPEN_ACL)])
    try:
        return records_.make(data, stat, OPEN_ACL if acl == OPEN_ACL else acl, owner)
    except StructError as error:
        raise ValueError(f"a number does not fit ({error})") from error


def _bytes(line: Mapping[str, Any], name: str) -> bytes | None:
    if f"{name}_base64" in line:
        return b64decode(line[f"{name}_base64"], validate=True)
    text = line[name]
    return None if text is None else str(text).encode("utf-8", "surrogatepass")


def _number(text: str) -> int:
    """Of 64 bits, signed."""
    value = int(text, 16)
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{text} has more than 64 bits")
    return value - (1 << 64) if value >> 63 else value
