"""The words' answers: recorded from an Apache ZooKeeper 3.8 with two sessions, the version replaced by ours."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from zkstore.admin import java_text
from zkstore.admin.four_letter_words import WORDS, FourLetterWords
from zkstore.server.config import Config
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.figures import (
    ConnectionFigures,
    DirectorySizes,
    EnsembleFigures,
    ExpiryBucket,
    LearnerFigures,
    Overview,
    ServerView,
    SessionFigures,
    WatchTotals,
)
from zkstore.version import ZOOKEEPER_VERSION
from zkstore.zab import membership

FIRST, SECOND = 0x100000B5AB00000, 0x100000B5AB00001
EXPIRY_MS = 1_795_352_706_000

MEMBERS = membership.parse(
    "server.1=127.0.0.1:24281:24381:participant\n"
    "server.2=127.0.0.1:24282:24382|[::1]:24284:24384:participant\n"
    "server.3=127.0.0.1:24283:24383:observer\n"
    "version=100000000"
)

ASKING = ConnectionFigures("127.0.0.1", 53144, 0, 0, 1, 0, EXPIRY_MS, None)
FIRST_CLIENT = ConnectionFigures(
    host="127.0.0.1",
    port=53122,
    interest=1,
    queued=0,
    received=6,
    sent=6,
    expires_ms=EXPIRY_MS,
    session=SessionFigures(FIRST, "GETD", 1_795_352_694_190, 10_000, 5, 6, 748_036, 0, 0, 5.5, 14),
)
SECOND_CLIENT = ConnectionFigures(
    host="127.0.0.1",
    port=53124,
    interest=1,
    queued=0,
    received=0,
    sent=0,
    expires_ms=EXPIRY_MS,
    session=SessionFigures(SECOND, "NA", 1_795_352_694_215, 10_000, -1, -1, 0, 0, 0, 0.0, 0),
)


@dataclass
class RecordedServer:
    """The server of the recording, as far as its figures go."""

    settings: Config = field(
        default_factory=lambda: Config(data_dir=Path("/srv/data"), client_host="127.0.0.1", client_port=28471)
    )
    serving: bool = True
    read_only: bool = False
    resets: list[str] = field(default_factory=list)

    def config(self) -> Config:
        return self.settings

    def is_serving(self) -> bool:
        return self.serving

    def is_read_only(self) -> bool:
        return self.read_only

    def overview(self) -> Overview:
        return Overview(0, 3.75, 14, 32, 32, 3, 0, 6, "standalone", 9)

    def ensemble(self) -> EnsembleFigures | None:
        return None

    def metrics(self) -> Mapping[str, int | float]:
        return {"watch_count": 5, "uptime": 4070, "avg_fsynctime": 1 / 6, "sum_fsynctime": 1, "avg_readlatency": 0.0}

    def connections(self) -> Iterable[ConnectionFigures]:
        return [ASKING, FIRST_CLIENT, SECOND_CLIENT]

    def expiry_buckets(self) -> Iterable[ExpiryBucket]:
        return [ExpiryBucket(EXPIRY_MS - 2_000, ()), ExpiryBucket(EXPIRY_MS, (SECOND, FIRST))]

    def local_expiry_buckets(self) -> Iterable[ExpiryBucket] | None:
        return None

    def session_timeouts(self) -> Mapping[int, int]:
        return {SECOND: 10_000, FIRST: 30_000}

    def ephemerals(self) -> Mapping[int, Collection[bytes]]:
        return {SECOND: [b"/eph"], FIRST: [b"/lock/n-0000000000", b"/lock/m"]}

    def digests(self) -> list[tuple[int, int]]:
        return [(0x80, 12345), (0x1FF, 18446744073709551615)]

    def watch_totals(self) -> WatchTotals:
        return WatchTotals(2, 3, 4)

    def data_watches(self) -> Iterable[tuple[bytes, Collection[int]]]:
        return [(b"/lock", (FIRST, SECOND)), (b"/eph", (FIRST,)), (b"/nothing", (SECOND,))]

    def directory_sizes(self) -> DirectorySizes:
        return DirectorySizes(67_109_337, 4_096)

    def reset_connection_statistics(self) -> None:
        self.resets.append("connections")

    def reset_server_statistics(self) -> None:
        self.resets.append("server")


class EmptyServer(RecordedServer):
    """A server that nobody but the asking connection uses."""

    def connections(self) -> Iterable[ConnectionFigures]:
        return [ASKING]

    def expiry_buckets(self) -> Iterable[ExpiryBucket]:
        return []

    def ephemerals(self) -> Mapping[int, Collection[bytes]]:
        return {}

    def watch_totals(self) -> WatchTotals:
        return WatchTotals(0, 0, 0)

    def digests(self) -> list[tuple[int, int]]:
        return []

    def data_watches(self) -> Iterable[tuple[bytes, Collection[int]]]:
        return []


class MemberOfThree(EmptyServer):
    """One of two voters and an observer, as recorded from three Apache servers that nobody uses."""

    def __init__(self, server_id: int, mode: str, leader_id: int = 2) -> None:
        super().__init__(settings=Config(data_dir=Path("/srv/data"), ensemble=EnsembleConfig(server_id, MEMBERS)))
        self.server_id, self.mode, self.leader_id = server_id, mode, leader_id
        self.learners: tuple[LearnerFigures, ...] = ()
        self.members = MEMBERS

    def overview(self) -> Overview:
        return super().overview()._replace(mode=self.mode)

    def ensemble(self) -> EnsembleFigures:
        return EnsembleFigures(
            self.server_id, 1, self.leader_id, 0x100000010, 3, (48, 48, 36260), self.learners, self.members
        )


def mntr(view: ServerView) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in ask(b"mntr", view).splitlines())


def ask(word: bytes, view: ServerView | None = None) -> str:
    return FourLetterWords(view or RecordedServer(), {"*"}).answer(word).decode()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


SRVR_FIGURES = """\
Latency min/avg/max: 0/3.75/14
Received: 32
Sent: 32
Connections: 3
Outstanding: 0
Zxid: 0x6
Mode: standalone
Node count: 9
"""

RECORDED = {
    b"ruok": "imok",
    b"isro": "rw",
    b"gtmk": "306",
    b"crst": "Connection stats reset.\n",
    b"srst": "Server stats reset.\n",
    b"dirs": "datadir_size: 67109337\nlogdir_size: 4096\n",
    b"hash": "80: 12345\n1ff: 18446744073709551615\n",
    b"wchs": "2 connections watching 3 paths\nTotal watches:4\n",
    b"wchc": """\
0x100000b5ab00000
\t/lock
\t/eph
0x100000b5ab00001
\t/lock
\t/nothing

""",
    b"wchp": """\
/lock
\t0x100000b5ab00000
\t0x100000b5ab00001
/eph
\t0x100000b5ab00000
/nothing
\t0x100000b5ab00001

""",
    b"srvr": f"Zookeeper version: {ZOOKEEPER_VERSION}\n{SRVR_FIGURES}",
    b"stat": f"""\
Zookeeper version: {ZOOKEEPER_VERSION}
Clients:
 /127.0.0.1:53144[0](queued=0,recved=1,sent=0)
 /127.0.0.1:53122[1](queued=0,recved=6,sent=6)
 /127.0.0.1:53124[1](queued=0,recved=0,sent=0)

{SRVR_FIGURES}""",
    b"cons": (
        " /127.0.0.1:53144[0](queued=0,recved=1,sent=0)\n"
        " /127.0.0.1:53122[1](queued=0,recved=6,sent=6,sid=0x100000b5ab00000,lop=GETD,est=1795352694190,to=10000,"
        "lcxid=0x5,lzxid=0x6,lresp=748036,llat=0,minlat=0,avglat=5,maxlat=14)\n"
        " /127.0.0.1:53124[1](queued=0,recved=0,sent=0,sid=0x100000b5ab00001,lop=NA,est=1795352694215,to=10000,"
        "lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n"
        "\n"
    ),
    b"conf": """\
clientPort=28471
secureClientPort=-1
dataDir=/srv/data
dataDirSize=67109337
dataLogDir=/srv/data
dataLogSize=4096
tickTime=2000
maxClientCnxns=60
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=0
""",
    b"dump": """\
SessionTracker dump:
Session Sets (2)/(2):
0 expire at Sun Nov 22 13:05:04 UTC 2026:
2 expire at Sun Nov 22 13:05:06 UTC 2026:
\t0x100000b5ab00001
\t0x100000b5ab00000
ephemeral nodes dump:
Sessions with Ephemerals (2):
0x100000b5ab00001:
\t/eph
0x100000b5ab00000:
\t/lock/n-0000000000
\t/lock/m
Connections dump:
Connections Sets (1)/(3):
3 expire at Sun Nov 22 13:05:06 UTC 2026:
\tip: /127.0.0.1:53144 sessionId: 0x0
\tip: /127.0.0.1:53122 sessionId: 0x100000b5ab00000
\tip: /127.0.0.1:53124 sessionId: 0x100000b5ab00001
""",
    b"mntr": f"""\
zk_version\t{ZOOKEEPER_VERSION}
zk_server_state\tstandalone
zk_avg_latency\t3.75
zk_max_latency\t14
zk_min_latency\t0
zk_packets_received\t32
zk_packets_sent\t32
zk_num_alive_connections\t3
zk_outstanding_requests\t0
zk_znode_count\t9
zk_watch_count\t5
zk_uptime\t4070
zk_avg_fsynctime\t0.1667
zk_sum_fsynctime\t1
zk_avg_readlatency\t0.0
""",
}

RECORDED_OF_AN_EMPTY_SERVER = {
    b"cons": " /127.0.0.1:53144[0](queued=0,recved=1,sent=0)\n\n",
    b"hash": "",
    b"wchs": "0 connections watching 0 paths\nTotal watches:0\n",
    b"wchc": "\n",
    b"wchp": "\n",
    b"dump": """\
SessionTracker dump:
Session Sets (0)/(0):
ephemeral nodes dump:
Sessions with Ephemerals (0):
Connections dump:
Connections Sets (1)/(1):
1 expire at Sun Nov 22 13:05:06 UTC 2026:
\tip: /127.0.0.1:53144 sessionId: 0x0
""",
}


def test_every_word_is_tested() -> None:
    assert set(RECORDED) | {b"envi", b"stmk"} == WORDS


@pytest.mark.parametrize("word", RECORDED)
def test_a_word_is_answered_as_apache_does(word: bytes) -> None:
    assert ask(word) == RECORDED[word]


@pytest.mark.parametrize("word", RECORDED_OF_AN_EMPTY_SERVER)
def test_an_idle_server_answers_as_apache_does(word: bytes) -> None:
    assert ask(word, EmptyServer()) == RECORDED_OF_AN_EMPTY_SERVER[word]


def test_the_environment_has_javas_names_and_our_version() -> None:
    first, *lines = ask(b"envi").splitlines()
    values = dict(line.split("=", 1) for line in lines)

    assert first == "Environment:"
    assert values["zookeeper.version"] == ZOOKEEPER_VERSION
    assert values["java.version"] == "<NA>"
    assert values["user.dir"] == str(Path.cwd())
    assert all(values.values())


def test_a_directory_that_is_gone_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert "user.dir=<NA>\n" in ask(b"envi")


def test_a_trace_mask_is_kept_for_who_asks() -> None:
    words = FourLetterWords(RecordedServer(), {"stmk", "gtmk"})

    assert words.answer(b"stmk", (310).to_bytes(8, "big") + b"\n") == b"310"
    assert words.answer(b"gtmk") == b"310"
    assert words.answer(b"stmk", b"\n") == b"310", "seven bytes are no mask"


def test_resets_reach_the_server() -> None:
    view = RecordedServer()

    ask(b"crst", view)
    ask(b"srst", view)

    assert view.resets == ["connections", "server"]


def test_only_listed_words_are_answered() -> None:
    words = FourLetterWords(RecordedServer(), {"srvr", "ruok", "nope"})

    assert words.answer(b"ruok") == b"imok"
    assert words.answer(b"mntr") == b"mntr is not executed because it is not in the whitelist.\n"
    assert words.answer(b"stmk", bytes(8)) == b"stmk is not executed because it is not in the whitelist.\n"


def test_a_server_that_does_not_serve_says_so() -> None:
    view = RecordedServer(serving=False)

    assert ask(b"ruok", view) == "imok"
    assert ask(b"isro", view) == "null"
    assert ask(b"gtmk", view) == "306"
    assert ask(b"envi", view).startswith("Environment:\n")
    for word in WORDS - {b"ruok", b"isro", b"gtmk", b"stmk", b"envi"}:
        assert ask(word, view) == "This ZooKeeper instance is not currently serving requests\n"
    assert view.resets == []


def test_a_read_only_server_says_so() -> None:
    view = RecordedServer(read_only=True)

    assert ask(b"isro", view) == "ro"
    for word in (b"srvr", b"stat"):
        assert ask(word, view).splitlines()[1] == "READ-ONLY mode; serving only read-only clients"


def test_the_configuration_names_a_log_directory_of_its_own() -> None:
    view = RecordedServer()
    view.settings = replace(view.settings, data_log_dir=Path("/srv/log"), listen_backlog=50)

    lines = ask(b"conf", view).splitlines()

    assert "dataLogDir=/srv/log" in lines
    assert "clientPortListenBacklog=50" in lines


def test_words_are_four_bytes_that_no_frame_can_begin_with() -> None:
    assert all(len(word) == 4 and int.from_bytes(word, "big") > 1 << 30 for word in WORDS)


def test_a_member_of_an_ensemble_shows_it_in_its_configuration() -> None:
    told = (
        "serverId=3\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=24383\nquorumPort=24283\npeerType=1\n"
        "membership: \nserver.1=127.0.0.1:24281:24381:participant\n"
    )
    assert told in ask(b"conf", MemberOfThree(3, "observer"))
    assert ask(b"conf", MemberOfThree(3, "observer")).endswith("\nversion=100000000")
    assert "\nelectionPort=24384|24382\nquorumPort=24284|24282\npeerType=0\n" in ask(
        b"conf", MemberOfThree(2, "leader")
    )


def test_who_was_taken_out_of_the_ensemble_still_shows_what_it_was_told() -> None:
    view = MemberOfThree(3, "observer")
    view.members = membership.parse("server.1=127.0.0.1:24281:24381")

    assert "\nquorumPort=24283\n" in ask(b"conf", view)


def test_only_a_leader_shows_the_sizes_of_its_proposals() -> None:
    for word in (b"srvr", b"stat"):
        assert ask(word, MemberOfThree(2, "leader")).endswith(
            "Mode: leader\nNode count: 9\nProposal sizes last/min/max: 48/48/36260\n"
        )
        assert ask(word, MemberOfThree(1, "follower")).endswith("Mode: follower\nNode count: 9\n")


def test_a_server_that_does_not_decide_on_expiry_lists_sessions_with_their_timeouts() -> None:
    begin = (
        "SessionTracker dump:\nGlobal Sessions(2):\n0x100000b5ab00000\t30000ms\n0x100000b5ab00001\t10000ms\nephemeral"
    )

    for mode in ("follower", "observer"):
        assert ask(b"dump", MemberOfThree(1, mode)).startswith(begin)
    assert "Session Sets (0)/(0):\n" in ask(b"dump", MemberOfThree(2, "leader"))


def test_sessions_that_only_one_server_knows_are_dumped_before_the_others() -> None:
    class WithLocalSessions(MemberOfThree):
        def local_expiry_buckets(self) -> Iterable[ExpiryBucket] | None:
            return [ExpiryBucket(EXPIRY_MS, (0x2000000000000001,))]

    local = (
        "SessionTracker dump:\nLocal Session Sets (1)/(1):\n"
        f"1 expire at {java_text.date(EXPIRY_MS)}:\n\t0x2000000000000001\n"
    )
    assert ask(b"dump", WithLocalSessions(1, "follower")).startswith(f"{local}Global Sessions(2):\n")
    assert ask(b"dump", WithLocalSessions(2, "leader")).startswith(f"{local}Global Session Sets (0)/(0):\n")


def test_a_leader_counts_those_who_learn_from_it() -> None:
    view = MemberOfThree(2, "leader")
    view.learners = (
        LearnerFigures(1, is_voter=True, is_in_step=True, acked_zxid=0x10000000E, silent_ms=0),
        LearnerFigures(3, is_voter=False, is_in_step=True, acked_zxid=0x100000010, silent_ms=0),
        LearnerFigures(7, is_voter=False, is_in_step=True, acked_zxid=0x100000011, silent_ms=0),
        LearnerFigures(8, is_voter=False, is_in_step=False, acked_zxid=0x3F, silent_ms=0),
    )

    figures = mntr(view)

    assert ask(b"mntr", view).splitlines()[1:3] == ["zk_server_state\tleader", "zk_peer_state\tleading - broadcast"]
    expected = {
        "zk_quorum_size": "2",
        "zk_epoch": "1",
        "zk_leader_id": "2",
        "zk_learners": "4",
        "zk_synced_followers": "1",
        "zk_synced_observers": "1",
        "zk_synced_non_voting_followers": "1",
        "zk_pending_syncs": "3",
        "zk_1_learner_lag": "2",
        "zk_3_learner_lag": "0",
        "zk_7_learner_lag": "0",
        "zk_8_learner_lag": "16",
    }
    assert {name: figures.get(name) for name in expected} == expected


def test_those_who_learn_name_their_leader() -> None:
    follower, observer = mntr(MemberOfThree(1, "follower")), mntr(MemberOfThree(3, "observer"))

    assert (follower["zk_peer_state"], follower["zk_leader_id"]) == ("following - broadcast", "2")
    assert (observer["zk_peer_state"], observer["zk_observer_master_id"]) == ("observing - broadcast", "2")
    assert "zk_observer_master_id" not in follower
    assert "zk_learners" not in follower
