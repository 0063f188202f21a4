"""The members of an ensemble, changed by its clients."""

from __future__ import annotations

import pytest

from tests.replica.clients import Answer, Client
from tests.replica.ensemble import Ensemble, Host
from tests.replica.world import World
from tests.zab import harness
from zkstore.errors import ConfigError
from zkstore.model.paths import CONFIG
from zkstore.model.tree import Tree
from zkstore.model.txns import CREATE, RECONFIG
from zkstore.replica.reconfig import members_in
from zkstore.wire import segment
from zkstore.wire.jute import Reader
from zkstore.wire.messages import Ack
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ReconfigRequest
from zkstore.wire.responses import DataResponse

DISABLED = -123
UNIMPLEMENTED = -6
IN_PROGRESS = -14
NO_QUORUM = -13
BAD_VERSION = -103
NO_AUTH = -102
BAD_ARGUMENTS = -8
MARSHALLING = -5


def request(
    joining: str | None = None, leaving: str | None = None, members: str | None = None, version: int = -1
) -> bytes:
    return ReconfigRequest(joining, leaving, members, version).encode()


def reconfig(client: Client, *arguments: str | None, **named: object) -> Answer:
    client.request(Opcode.RECONFIG, request(*arguments, **named))  # type: ignore[arg-type]
    client.world.run_disk()
    (answer,) = client.answers()
    return answer


def line(server_id: int, role: str = "participant") -> str:
    return f"server.{server_id}=h{server_id}:2888:3888:{role};2181"


def join(ensemble: Ensemble, server_id: int) -> Host:
    """A server that has been started with the others' names and, as an observer, its own."""
    config = harness.members(1, 2, 3, observers=[server_id])
    node = Host(ensemble, server_id, config, reconfig_enabled=True, skip_acl=True)
    ensemble.join(node)
    ensemble.pass_time(1_000)
    return node


@pytest.fixture
def ensemble() -> Ensemble:
    made = Ensemble(1, 2, 3, reconfig_enabled=True, skip_acl=True)
    made.settle()
    return made


def test_the_first_leader_of_all_writes_down_the_members(ensemble: Ensemble) -> None:
    for node in ensemble.nodes.values():
        found = members_in(node.tree)
        assert found is not None
        assert found.voters == {1, 2, 3}
        assert found.version == node.tree.stat(CONFIG).mzxid == (1 << 32) + 1
        assert node.member.members == node.peer.config == found
    ensemble.crash(ensemble.leader().server_id)
    ensemble.pass_time(1_000)
    assert ensemble.leader().tree.stat(CONFIG).mzxid == (1 << 32) + 1


@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_server_joins_and_leaves(ensemble: Ensemble, where: str) -> None:
    joiner = join(ensemble, 4)
    client = (ensemble.leader() if where == "leader" else ensemble.followers()[0]).client()
    client.get_data(CONFIG, watch=True)
    answer = reconfig(client, line(4))
    assert answer.code == 0
    body = DataResponse.decode(Reader(answer.body))
    assert body.data is not None
    assert body.data.decode().split("\n") == [line(n).replace(";", ";0.0.0.0:") for n in (1, 2, 3, 4)] + [
        f"version={answer.zxid:x}"
    ]
    assert (body.stat.mzxid, body.stat.version) == (answer.zxid, -1)
    assert client.events() == [(3, CONFIG)]
    assert client.get_data(CONFIG).body == answer.body
    assert joiner.peer.config.voters == {1, 2, 3, 4}
    assert reconfig(client, None, "4", version=answer.zxid).code == 0
    assert ensemble.leader().peer.config.voters == {1, 2, 3}
    ensemble.settle()
    assert ensemble.leader().client().create(b"/a").code == 0


def test_all_members_are_replaced_at_once(ensemble: Ensemble) -> None:
    join(ensemble, 4)
    client = ensemble.leader().client()
    answer = reconfig(client, None, None, ",".join([line(1), line(2), line(4), line(3, "observer")]))
    assert answer.code == 0
    ensemble.pass_time(3_000)
    leader = ensemble.leader()
    assert leader.peer.config.voters == {1, 2, 4}
    assert leader.peer.config.observers == {3}
    assert leader.client().create(b"/a").code == 0
    ensemble.settle()
    ensemble.check()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((line(4), None, None, 5), BAD_VERSION),
        (("server.4=nonsense", None, None), BAD_ARGUMENTS),
        (("server.x=h4:1:2;3", None, None), MARSHALLING),
        ((None, "one", None), MARSHALLING),
        ((None, "1,2", None), BAD_ARGUMENTS),
        ((None, None, line(1)), BAD_ARGUMENTS),
        ((None, None, f"{line(7)},{line(8)}"), NO_QUORUM),
        ((f"{line(4)},{line(5)},{line(6)},{line(7)}", None, None), NO_QUORUM),
    ],
)
@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_change_that_makes_no_sense_is_refused(
    ensemble: Ensemble, where: str, arguments: tuple[str | None, ...], code: int
) -> None:
    client = (ensemble.leader() if where == "leader" else ensemble.followers()[0]).client()
    before = client.get_data(CONFIG).body
    assert reconfig(client, *arguments).code == code
    assert client.get_data(CONFIG).body == before
    assert client.create(b"/a").code == 0
    ensemble.check()


def test_a_request_that_cannot_be_read_is_refused(ensemble: Ensemble) -> None:
    client = ensemble.leader().client()
    client.request(Opcode.RECONFIG, b"\0")
    ensemble.settle()
    assert [answer.code for answer in client.answers()] == [MARSHALLING]


def test_a_change_stands_alone_in_its_segment(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    client = leader.client()
    client.send.create(b"/1")
    client.send.create(b"/2")
    client.request(Opcode.RECONFIG, request(None, "9"))
    client.send.create(b"/3")
    client.send.create(b"/4")
    ensemble.settle()
    assert [answer.code for answer in client.answers()] == [0] * 5
    kinds = [[txn[0] for txn in segment.txns(one)] for one in leader.disk.segments[-3:]]
    assert kinds == [[CREATE, CREATE], [RECONFIG], [CREATE, CREATE]]
    ensemble.check()


def test_while_a_change_is_under_way_the_next_one_is_refused(ensemble: Ensemble) -> None:
    client = ensemble.leader().client()
    client.request(Opcode.RECONFIG, request(None, "9"))
    client.request(Opcode.RECONFIG, request(None, "9"))
    client.send.get_data(CONFIG)
    ensemble.settle()
    first, second, read = client.answers()
    assert [first.code, second.code, read.code] == [0, IN_PROGRESS, 0]
    assert read.body == first.body
    assert reconfig(client, None, "9").code == 0


def test_who_may_not_write_there_changes_no_members() -> None:
    ensemble = Ensemble(1, 2, 3, reconfig_enabled=True)
    ensemble.settle()
    assert reconfig(ensemble.leader().client(), None, "9").code == NO_AUTH


def test_a_server_number_that_zookeeper_would_take_is_no_news_for_who_may_not_write_there(ensemble: Ensemble) -> None:
    too_large = "server.999=0.0.0.0:1234:2345:observer;3456"
    assert reconfig(ensemble.leader().client(), too_large, None).code == BAD_ARGUMENTS
    guarded = Ensemble(1, 2, 3, reconfig_enabled=True)
    guarded.settle()
    assert reconfig(guarded.leader().client(), too_large, None).code == NO_AUTH
    assert reconfig(guarded.leader().client(), "some thing", None).code == BAD_ARGUMENTS


def test_only_where_it_is_switched_on_and_not_on_a_server_alone(ensemble: Ensemble) -> None:
    assert reconfig(World(reconfig_enabled=True).client(), None, "9").code == UNIMPLEMENTED
    assert reconfig(World().client(), None, "9").code == DISABLED
    off = Ensemble(1, 2, 3)
    off.settle()
    assert reconfig(off.leader().client(), None, "9").code == DISABLED


def test_nobody_sets_the_members_as_data(ensemble: Ensemble) -> None:
    client = ensemble.leader().client()
    assert client.set_acl(CONFIG, ((31, "world", "anyone"),)).code == 0
    assert client.set_data(CONFIG, b"x").code == NO_AUTH
    assert client.multi(client.world.ops.set_data(CONFIG, b"x")).codes == [NO_AUTH]
    alone = World(skip_acl=True).client()
    assert alone.set_data(CONFIG, b"x").code == 0


def test_a_change_that_only_a_lost_leader_had_is_forgotten(ensemble: Ensemble) -> None:
    old = ensemble.leader()
    client = old.client()
    ensemble.isolate(old.server_id)
    client.request(Opcode.RECONFIG, request(None, "1"))
    ensemble.turn()
    assert old.peer.pending_config is not None
    ensemble.pass_time(12_000)
    ensemble.heal()
    ensemble.pass_time(5_000)
    assert old.peer.pending_config is None
    assert old.peer.config.voters == {1, 2, 3}
    assert reconfig(ensemble.leader().client(), None, "9").code == 0
    ensemble.check()


def test_a_change_in_the_logs_tail_counts_when_a_server_starts_again(ensemble: Ensemble) -> None:
    leader, (follower, other) = ensemble.leader(), ensemble.followers()
    client = leader.client()
    ensemble.crash(other.server_id)
    ensemble.held += [Ack]
    client.request(Opcode.RECONFIG, request(None, str(other.server_id)))
    ensemble.turn()
    assert follower.peer.pending_config is not None
    ensemble.crash(leader.server_id)
    ensemble.crash(follower.server_id)
    ensemble.held.clear()
    follower.boot()
    assert follower.peer.pending_config is not None
    assert follower.peer.pending_config.voters == {leader.server_id, follower.server_id}
    ensemble.start(leader.server_id)
    ensemble.pass_time(2_000)
    assert ensemble.leader().peer.config.voters == {leader.server_id, follower.server_id}
    ensemble.check()


def test_what_is_no_configuration_is_named_as_such() -> None:
    tree = Tree.new()
    assert members_in(tree) is None
    world = World(skip_acl=True)
    world.client().set_data(CONFIG, b"nonsense")
    with pytest.raises(ConfigError, match="/zookeeper/config line 1"):
        members_in(world.tree)
