"""Laws, over random workloads: recovery, digest, captures, and that writes under way are as good as applied ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replica.clients import Client, Verbs
from tests.replica.world import World
from zkstore.model.acl import OPEN_ACL
from zkstore.model.record import data_of, digest_of
from zkstore.model.tree import Capture, Tree, session_digest

PATHS = [b"/a", b"/b", b"/a/x", b"/a/y", b"/b/x", b"/a/x/deep", b"/zookeeper/config"]
ACLS = [OPEN_ACL, ((31, "ip", "127.0.0.1"),), ((1, "world", "anyone"),), ((29, "auth", ""),)]

paths = st.sampled_from(PATHS)
contents = st.sampled_from([None, b"", b"1", b"22", b"x" * 300])
versions = st.sampled_from([-1, -1, 0, 1, 2])
flags = st.sampled_from([0, 0, 1, 2, 3])
acls = st.sampled_from(ACLS)


def verb(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), *arguments)


operations = st.one_of(
    verb("create", paths, contents, flags),
    verb("set_data", paths, contents, versions),
    verb("delete", paths, versions),
    verb("check", paths, versions),
)
WRITES = [
    verb("create", paths, contents, flags, acls),
    verb("create", paths, contents, flags, acls),
    verb("create2", paths, contents, flags),
    verb("create_container", paths),
    verb("create_ttl", paths, st.integers(1, 100_000)),
    verb("set_data", paths, contents, versions),
    verb("set_data", paths, contents, versions),
    verb("delete", paths, versions),
    verb("delete", paths),
    verb("set_acl", paths, acls, versions),
    verb("multi", st.lists(operations, max_size=4)),
]
READS = [
    verb("get_data", paths, st.booleans()),
    verb("exists", paths, st.booleans()),
    verb("get_children2", paths, st.booleans()),
    verb("get_acl", paths),
    verb("get_ephemerals"),
    verb("sync", paths),
]
requests = st.one_of(WRITES + READS)
disk_steps = st.sampled_from([("seal",), ("finish",), ("run_disk",)])
rare_steps = st.sampled_from([("lose",), ("leave",), ("expire",), ("close",)])
any_step = st.one_of([requests] * 6 + [disk_steps] * 3 + [rare_steps])
steps = st.lists(st.tuples(st.integers(0, 2), any_step), min_size=30, max_size=100)
moderate = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ask(verbs: Verbs[Any], ops: Any, request: tuple[Any, ...]) -> Any:
    """One drawn request, by whichever way `verbs` asks."""
    name, *arguments = request
    if name == "multi":
        return verbs.multi(*[getattr(ops, kind)(*fields) for kind, *fields in arguments[0]])
    return getattr(verbs, name)(*arguments)


class Play:
    """Three clients and a disk that act as drawn; `after` is called whenever segments may have been applied."""

    def __init__(self, world: World, after: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.after = after
        self.clients = [world.client() for _ in range(3)]
        self.clients[0].add_auth("digest", b"user:secret")
        for path in PATHS[:3]:
            self.clients[0].create(path)

    def step(self, number: int, step: tuple[Any, ...]) -> None:
        world, client = self.world, self.clients[number]
        name = step[0]
        if name == "seal":
            world.seal()
        elif name == "finish":
            world.finish(min(1, len(world.sealed)))
        elif name == "run_disk":
            world.run_disk()
        elif name == "lose":
            world.lose()
        elif name == "expire":
            world.pass_time(50_000, step_ms=10_000)
        elif name == "leave":
            client.vanish()
        elif name == "close":
            client.send.close()
        else:
            ask(client.send, world.ops, step)
        self.check_order(client)
        if client.is_ended:
            self.clients[number] = world.stranger()
            self.clients[number].greet()
        self.after()

    def check_order(self, client: Client) -> None:
        """Answers come in the order of requests, and no zxid goes back."""
        if client.session_id == 0:
            client.output()  # The answer to its ConnectRequest, if anything.
            client.session_id = client.conversation.session_id
            return
        answers = client.answers()
        assert [answer.xid for answer in answers] == sorted(answer.xid for answer in answers)
        zxids = [answer.zxid for answer in answers]
        assert zxids == sorted(zxids)

    def run(self, drawn: list[tuple[int, tuple[Any, ...]]]) -> World:
        for number, step in drawn:
            self.step(number, step)
        self.world.run_disk()
        self.after()
        return self.world


def state_of(tree: Tree) -> dict[str, Any]:
    """Everything that a tree says, as plain data."""
    return {
        "records": tree.records,
        "special": tree.special,
        "children": tree.children,
        "ephemerals": tree.ephemerals,
        "reapable": tree.reapable,
        "sessions": tree.sessions,
        "zxid": tree.zxid,
        "digest": tree.digest,
        "data_bytes": tree.data_bytes,
    }


def digest_from_scratch(tree: Tree) -> int:
    znodes = sum(digest_of(path, record) for path, record in tree.records.items())
    return (znodes + sum(session_digest(*item) for item in tree.sessions.items())) % (1 << 64)


def check_recovery(world: World) -> None:
    tree = world.tree
    assert state_of(world.check_chain()) == state_of(tree)
    loaded = Tree.load(tree.records.items(), tree.sessions, tree.zxid, tree.digest)
    assert state_of(loaded) == state_of(tree)
    for path in tree.records:
        stat = tree.stat(path)
        assert stat.num_children == len(tree.children.get(path, ()))
        assert stat.data_length == len(data_of(tree.records[path]) or b"")
        assert stat.pzxid <= tree.zxid


@moderate
@given(drawn=steps)
def test_the_log_alone_and_the_records_alone_give_the_same_tree(
    make_world: type[World], drawn: list[tuple[int, tuple[Any, ...]]]
) -> None:
    check_recovery(Play(make_world()).run(drawn))


@moderate
@given(drawn=steps)
def test_the_digest_is_that_of_all_znodes_and_sessions_at_any_time(
    make_world: type[World], drawn: list[tuple[int, tuple[Any, ...]]]
) -> None:
    world = make_world()

    def check() -> None:
        assert world.tree.digest == digest_from_scratch(world.tree)

    Play(world, check).run(drawn)


class Checkpoints:
    """Takes captures in slices while the world goes on, as the server does; some do not reach the disk."""

    def __init__(self, tree: Tree, slices: list[int]) -> None:
        self.tree = tree
        self.slices = iter(slices)
        self.stored: dict[bytes, bytes] = {}
        self.finished = 0
        self.start()

    def start(self) -> None:
        self.capture: Capture = self.tree.begin_capture()
        self.expected = dict(self.tree.records)
        self.sessions = dict(self.tree.sessions)
        self.delta: dict[bytes, bytes | None] = {}

    def take(self, count: int) -> None:
        """The next `count` znodes; 0 means that writing failed."""
        if count == 0:
            self.tree.abandon_capture()
            self.start()
            return
        taken = self.capture.take(count)
        assert len(taken) <= count
        self.delta.update(taken)
        if not taken:
            self.finish()

    def finish(self) -> None:
        for path, record in self.delta.items():
            if record is None:
                self.stored.pop(path, None)
            else:
                self.stored[path] = record
        assert len(self.delta) == self.capture.count
        assert self.stored == self.expected
        assert self.capture.sessions == self.sessions
        Tree.load(self.stored.items(), self.capture.sessions, self.capture.zxid, self.capture.digest)
        self.tree.end_capture()
        self.finished += 1
        self.start()

    def step(self) -> None:
        self.take(next(self.slices, 3))


@moderate
@given(drawn=steps, slices=st.lists(st.integers(0, 5), max_size=40))
def test_a_capture_is_the_tree_at_its_zxid_however_slowly_it_is_taken(
    make_world: type[World], drawn: list[tuple[int, tuple[Any, ...]]], slices: list[int]
) -> None:
    world = make_world()
    checkpoints = Checkpoints(world.tree, slices)
    Play(world, checkpoints.step).run(drawn)
    while checkpoints.finished < 2 or world.tree.dirty_count:
        checkpoints.take(2)


@moderate
@given(drawn=st.lists(requests, min_size=20, max_size=60))
def test_requests_that_are_pipelined_get_the_same_bytes_as_one_after_the_other(
    make_world: type[World], drawn: list[tuple[Any, ...]]
) -> None:
    """The view of outstanding txns is exact: whatever is under way counts as if it had been applied."""
    hasty, patient = make_world(), make_world()
    outputs = []
    for world, is_patient in ((hasty, False), (patient, True)):
        client = world.client()
        output = []
        for request in drawn:
            ask(client.send, world.ops, request)
            if is_patient:
                world.run_disk()
                output.append(client.output())
        world.run_disk()
        outputs.append(b"".join([*output, client.output()]))
    assert outputs[0] == outputs[1]
    assert state_of(hasty.tree) == state_of(patient.tree)


@moderate
@given(drawn=st.lists(st.tuples(st.integers(0, 2), st.one_of(WRITES)), min_size=20, max_size=60))
def test_writes_of_several_clients_get_the_same_answers_whether_or_not_they_share_a_segment(
    make_world: type[World], drawn: list[tuple[int, tuple[Any, ...]]]
) -> None:
    outputs = []
    for is_patient in (False, True):
        world = make_world()
        clients = [world.client() for _ in range(3)]
        for number, request in drawn:
            ask(clients[number].send, world.ops, request)
            if is_patient:
                world.run_disk()
        clients[0].send.close()
        world.run_disk()
        outputs.append(([client.output() for client in clients], state_of(world.tree)))
    assert outputs[0] == outputs[1]


@pytest.mark.long
@thorough
@given(drawn=steps, slices=st.lists(st.integers(0, 5), max_size=40))
def test_all_laws_for_longer(
    make_world: type[World], drawn: list[tuple[int, tuple[Any, ...]]], slices: list[int]
) -> None:
    world = make_world()
    checkpoints = Checkpoints(world.tree, slices)

    def check() -> None:
        assert world.tree.digest == digest_from_scratch(world.tree)
        checkpoints.step()

    check_recovery(Play(world, check).run(drawn))
