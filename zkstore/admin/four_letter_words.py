"""The four-letter words: ask for one on the client port, read the answer, and the connection closes.

The texts are ZooKeeper's to the byte, because scripts, dashboards and client libraries cut them up.
The digests that `hash` lists are zkstore's own, made at the ends of segments: they compare zkstore servers.
Source: ZooKeeper administrator's guide, "The Four Letter Words"; compared with a running Apache 3.8.
"""

from __future__ import annotations

import getpass
import platform
import socket
import struct
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from zkstore.admin import ensemble_text, java_text
from zkstore.server.figures import ConnectionFigures, ExpiryBucket, ServerView
from zkstore.version import ZOOKEEPER_VERSION

_NOT_SERVING: Final = b"This ZooKeeper instance is not currently serving requests\n"
_TRACE_MASK: Final = struct.Struct(">q")
_DEFAULT_TRACE_MASK: Final = 306

_JAVA_ARCHITECTURES: Final = {"x86_64": "amd64", "AMD64": "amd64", "arm64": "aarch64"}


class FourLetterWords:
    """Answers words about one server.

    `allowed` are the words that the configuration lists, where `*` stands for all. The trace mask, which
    has traced nothing for many releases but which `stmk` must still give back, is kept here.
    """

    def __init__(self, view: ServerView, allowed: Iterable[str]) -> None:
        self._view = view
        listed = {word.encode() for word in allowed}
        self._allowed = WORDS if b"*" in listed else WORDS & listed
        self._trace_mask = _DEFAULT_TRACE_MASK

    def answer(self, word: bytes, following: bytes = b"") -> bytes:
        """The answer to `word`, which is one of `WORDS`; `following` are the bytes that came behind it."""
        if word not in self._allowed:
            return b"%b is not executed because it is not in the whitelist.\n" % word
        if word == b"stmk":
            return self._set_trace_mask(following)
        if word == b"gtmk":
            return b"%d" % self._trace_mask
        if word in _WITHOUT_SERVER:
            return _WITHOUT_SERVER[word](self._view).encode()
        if not self._view.is_serving():
            return _NOT_SERVING
        return _OF_A_SERVER[word](self._view).encode("utf-8", "replace")

    def _set_trace_mask(self, following: bytes) -> bytes:
        if len(following) >= _TRACE_MASK.size:
            (self._trace_mask,) = _TRACE_MASK.unpack_from(following)
        return b"%d" % self._trace_mask


# --- words that are answered whatever the server's state ------------------------------------------


def _ruok(_: ServerView) -> str:
    return "imok"


def _isro(view: ServerView) -> str:
    if not view.is_serving():
        return "null"
    return "ro" if view.is_read_only() else "rw"


def _envi(_: ServerView) -> str:
    """Java's names, because they are asked for; what only a Java machine has is <NA>, ZooKeeper's word for it."""
    machine = platform.machine()
    values = {
        "zookeeper.version": ZOOKEEPER_VERSION,
        "host.name": socket.gethostname(),
        "java.version": None,
        "java.vendor": None,
        "java.home": None,
        "java.class.path": None,
        "java.library.path": None,
        "java.io.tmpdir": tempfile.gettempdir(),
        "java.compiler": None,
        "os.name": platform.system(),
        "os.arch": _JAVA_ARCHITECTURES.get(machine, machine),
        "os.version": platform.release(),
        "user.name": _found(getpass.getuser),
        "user.home": _found(Path.home),
        "user.dir": _found(Path.cwd),
        "os.memory.free": None,
        "os.memory.max": None,
        "os.memory.total": None,
        "python.version": platform.python_version(),
    }
    return "Environment:\n" + "".join(f"{key}={value or '<NA>'}\n" for key, value in values.items())


def _found(find: Callable[[], object]) -> str | None:
    """What `find` finds; a container may run under a user without a name, home or working directory."""
    try:
        return str(find())
    except (KeyError, OSError, RuntimeError):
        return None


# --- words about a server that serves -------------------------------------------------------------


def _conf(view: ServerView) -> str:
    config, sizes = view.config(), view.directory_sizes()
    log_dir = config.data_log_dir or config.data_dir
    values: dict[str, object] = {
        "clientPort": _port(config.client_port),
        "secureClientPort": _port(config.secure_client_port),
        "dataDir": config.data_dir.absolute(),
        "dataDirSize": sizes.data_bytes,
        "dataLogDir": log_dir.absolute(),
        "dataLogSize": sizes.log_bytes,
        "tickTime": config.tick_ms,
        "maxClientCnxns": config.connections_per_address_max,
        "minSessionTimeout": config.session_timeout_ms_min,
        "maxSessionTimeout": config.session_timeout_ms_max,
        "clientPortListenBacklog": -1 if config.listen_backlog is None else config.listen_backlog,
        "serverId": 0 if config.ensemble is None else config.ensemble.server_id,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items()) + ensemble_text.configuration(view)


def _port(port: int | None) -> int:
    return -1 if port is None else port


def _dirs(view: ServerView) -> str:
    sizes = view.directory_sizes()
    return f"datadir_size: {sizes.data_bytes}\nlogdir_size: {sizes.log_bytes}\n"


def _srvr(view: ServerView) -> str:
    return _version_lines(view) + _overview_lines(view)


def _stat(view: ServerView) -> str:
    clients = "".join(f" {_connection(figures)})\n" for figures in view.connections())
    return f"{_version_lines(view)}Clients:\n{clients}\n{_overview_lines(view)}"


def _version_lines(view: ServerView) -> str:
    read_only = "READ-ONLY mode; serving only read-only clients\n" if view.is_read_only() else ""
    return f"Zookeeper version: {ZOOKEEPER_VERSION}\n{read_only}"


def _overview_lines(view: ServerView) -> str:
    figures, ensemble = view.overview(), view.ensemble()
    average = java_text.double(figures.latency_avg_ms)
    return (
        f"Latency min/avg/max: {figures.latency_min_ms}/{average}/{figures.latency_max_ms}\n"
        f"Received: {figures.received}\n"
        f"Sent: {figures.sent}\n"
        f"Connections: {figures.connections}\n"
        f"Outstanding: {figures.outstanding}\n"
        f"Zxid: {java_text.hexadecimal(figures.zxid)}\n"
        f"Mode: {figures.mode}\n"
        f"Node count: {figures.node_count}\n" + ensemble_text.proposal_sizes(figures.mode, ensemble)
    )


def _connection(figures: ConnectionFigures) -> str:
    """A connection's line as far as `stat` and `cons` agree."""
    address = java_text.socket_address(figures.host, figures.port)
    return f"{address}[{figures.interest:x}](queued={figures.queued},recved={figures.received},sent={figures.sent}"


def _cons(view: ServerView) -> str:
    return "".join(f" {_connection(figures)}{_session(figures)})\n" for figures in view.connections()) + "\n"


def _session(figures: ConnectionFigures) -> str:
    session = figures.session
    if session is None:
        return ""
    last_cxid = f",lcxid={java_text.hexadecimal(session.last_cxid)}" if session.last_cxid >= 0 else ""
    return (
        f",sid={java_text.hexadecimal(session.session_id)},lop={session.last_operation}"
        f",est={session.established_ms},to={session.timeout_ms}{last_cxid}"
        f",lzxid={java_text.hexadecimal(session.last_zxid)},lresp={session.last_response_ms}"
        f",llat={session.last_latency_ms},minlat={session.latency_min_ms}"
        f",avglat={int(session.latency_avg_ms)},maxlat={session.latency_max_ms}"
    )


def _crst(view: ServerView) -> str:
    view.reset_connection_statistics()
    return "Connection stats reset.\n"


def _srst(view: ServerView) -> str:
    view.reset_server_statistics()
    return "Server stats reset.\n"


def _dump(view: ServerView) -> str:
    """Sessions by expiry, ephemerals by session, connections by expiry."""
    by_expiry: defaultdict[int, list[str]] = defaultdict(list)
    for figures in view.connections():
        address = java_text.socket_address(figures.host, figures.port)
        session_id = java_text.hexadecimal(figures.session.session_id if figures.session is not None else 0)
        by_expiry[figures.expires_ms].append(f"\tip: {address} sessionId: {session_id}\n")
    ephemerals = view.ephemerals()
    owners = "".join(
        f"{java_text.hexadecimal(session_id)}:\n" + "".join(f"\t{_path(path)}\n" for path in paths)
        for session_id, paths in ephemerals.items()
    )
    return (
        f"SessionTracker dump:\n{_sessions(view)}"
        f"ephemeral nodes dump:\nSessions with Ephemerals ({len(ephemerals)}):\n{owners}"
        f"Connections dump:\nConnections Sets {_expiry_sets(sorted(by_expiry.items()))}"
    )


def _sessions(view: ServerView) -> str:
    """Those that all servers know, behind those that only this one does, if such there may be."""
    local = view.local_expiry_buckets()
    sessions = f"Session Sets {_expiry_sets(_session_lines(view.expiry_buckets()))}"
    if view.overview().mode in ensemble_text.LEARNING:
        sessions = ensemble_text.global_sessions(view.session_timeouts())
    elif local is not None:
        sessions = f"Global {sessions}"
    return sessions if local is None else f"Local Session Sets {_expiry_sets(_session_lines(local))}{sessions}"


def _session_lines(buckets: Iterable[ExpiryBucket]) -> list[tuple[int, list[str]]]:
    return [
        (bucket.expires_ms, [f"\t{java_text.hexadecimal(session_id)}\n" for session_id in bucket.session_ids])
        for bucket in buckets
    ]


def _expiry_sets(buckets: list[tuple[int, list[str]]]) -> str:
    """(buckets)/(entries), then each bucket with its time and its entries."""
    entries = sum(len(lines) for _, lines in buckets)
    body = "".join(f"{len(lines)} expire at {java_text.date(at)}:\n" + "".join(lines) for at, lines in buckets)
    return f"({len(buckets)})/({entries}):\n{body}"


def _hash(view: ServerView) -> str:
    return "".join(f"{zxid:x}: {digest}\n" for zxid, digest in view.digests())


def _mntr(view: ServerView) -> str:
    figures = view.overview()
    values: dict[str, int | float] = {
        "avg_latency": float(figures.latency_avg_ms),
        "max_latency": figures.latency_max_ms,
        "min_latency": figures.latency_min_ms,
        "packets_received": figures.received,
        "packets_sent": figures.sent,
        "num_alive_connections": figures.connections,
        "outstanding_requests": figures.outstanding,
        "znode_count": figures.node_count,
        **ensemble_text.metrics(view.ensemble()),
        **view.metrics(),
    }
    lines = "".join(
        f"zk_{name}\t{java_text.double(value) if isinstance(value, float) else value}\n"
        for name, value in values.items()
    )
    state = f"zk_server_state\t{figures.mode}\n{ensemble_text.state(figures.mode, view.ensemble())}"
    return f"zk_version\t{ZOOKEEPER_VERSION}\n{state}{lines}"


def _wchs(view: ServerView) -> str:
    totals = view.watch_totals()
    return f"{totals.connections} connections watching {totals.paths} paths\nTotal watches:{totals.watches}\n"


def _wchp(view: ServerView) -> str:
    return (
        "".join(
            f"{_path(path)}\n" + "".join(f"\t{java_text.hexadecimal(session_id)}\n" for session_id in session_ids)
            for path, session_ids in view.data_watches()
        )
        + "\n"
    )


def _wchc(view: ServerView) -> str:
    by_session: defaultdict[int, list[bytes]] = defaultdict(list)
    for path, session_ids in view.data_watches():
        for session_id in session_ids:
            by_session[session_id].append(path)
    return (
        "".join(
            f"{java_text.hexadecimal(session_id)}\n" + "".join(f"\t{_path(path)}\n" for path in paths)
            for session_id, paths in by_session.items()
        )
        + "\n"
    )


def _path(path: bytes) -> str:
    return path.decode("utf-8", "replace")


_WITHOUT_SERVER: Final[dict[bytes, Callable[[ServerView], str]]] = {b"envi": _envi, b"isro": _isro, b"ruok": _ruok}

_OF_A_SERVER: Final[dict[bytes, Callable[[ServerView], str]]] = {
    b"conf": _conf,
    b"cons": _cons,
    b"crst": _crst,
    b"dirs": _dirs,
    b"dump": _dump,
    b"hash": _hash,
    b"mntr": _mntr,
    b"srst": _srst,
    b"srvr": _srvr,
    b"stat": _stat,
    b"wchc": _wchc,
    b"wchp": _wchp,
    b"wchs": _wchs,
}

WORDS: Final = frozenset({b"gtmk", b"stmk", *_WITHOUT_SERVER, *_OF_A_SERVER})
"""Every word that is recognised as the first four bytes of a connection, whether it is allowed or not."""
