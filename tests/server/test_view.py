"""The figures of a server, over a real replica, store and port."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.interop.raw import RawClient, create, get_data, greeting
from tests.replica.ensemble import Ensemble
from zkstore.net.client_port import ClientPort
from zkstore.net.connection import PortSettings
from zkstore.net.listeners import listen
from zkstore.replica.member import alone
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.server.checkpoints import Checkpoints
from zkstore.server.config import Config
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.pipeline import Pipeline
from zkstore.server.tally import Tally
from zkstore.server.view import View
from zkstore.storage.store import Store


class World:
    """A server that moves only when the test says so."""

    def __init__(self, directory: Path) -> None:
        self.store = Store.open(directory)
        tree = self.store.recover().tree
        self.replica = Replica(
            tree, ReplicaSettings(), now_ms=5_000, time_ms=1_000_000, last_crc=0, make_password=lambda: bytes(16)
        )
        member = alone(self.replica)
        member.start()
        self.pipeline = Pipeline(member, self.store)
        listeners = listen("127.0.0.1", 0, None)
        self.port = ClientPort(
            self.replica,
            listeners,
            PortSettings(),
            clock=lambda: None,
            after_input=self.pipeline.gather,
            before_wait=self.pipeline.before_wait,
        )
        self.port.add_source(self.pipeline.descriptor, self.pipeline.collect)
        self.client_port = listeners[0].socket.getsockname()[1]
        checkpoints = Checkpoints(tree, self.store, checkpoint_txns=1000)
        config = Config(data_dir=directory, client_port=self.client_port)
        self.view = View(config, member, self.store, self.port, self.pipeline, checkpoints)

    def turn(self) -> None:
        """Until nothing is to be read and nothing is being written."""
        while self.port.turn(may_wait=False) or self.pipeline.is_writing:
            if self.pipeline.is_writing:
                select.select([self.pipeline.descriptor], [], [], 10)

    def join(self) -> RawClient:
        client = RawClient(self.client_port)
        client.send(greeting())
        self.turn()
        frame = client.receive_frame()
        assert frame is not None
        client.session_id = int.from_bytes(frame[8:16], "big")
        return client

    def close(self) -> None:
        self.port.close()
        self.pipeline.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "data")
    yield world
    world.close()


@pytest.fixture
def client(world: World) -> Iterator[RawClient]:
    """It has made an ephemeral and watches it."""
    with world.join() as client:
        client.send(create(1, b"/e", b"12345", flags=1))
        world.turn()
        client.send(get_data(2, b"/e", watch=True))
        world.turn()
        assert [client.reply() is not None for _ in range(2)] == [True, True]
        yield client


def test_the_overview_counts_frames_connections_and_znodes(world: World, client: RawClient) -> None:
    overview = world.view.overview()
    assert (overview.received, overview.sent, overview.connections) == (3, 3, 1)
    assert (overview.outstanding, overview.zxid, overview.mode) == (0, 2, "standalone")
    assert overview.node_count == len(world.replica.tree.records) + 1


def test_metrics_follow_tree_watches_and_disk(world: World, client: RawClient) -> None:
    metrics = world.view.metrics()
    assert metrics["ephemerals_count"] == 1
    assert metrics["watch_count"] == 1
    assert metrics["global_sessions"] == 1
    assert metrics["commit_count"] == metrics["cnt_fsynctime"] == 2
    assert metrics["cnt_snapshottime"] == 0
    assert metrics["open_file_descriptor_count"] > 3


def test_a_connection_is_shown_with_its_session(world: World, client: RawClient) -> None:
    [shown] = world.view.connections()
    assert f"{shown.host}:{shown.port}" == client.name
    assert (shown.received, shown.sent, shown.queued) == (3, 3, 0)
    assert shown.session is not None
    assert shown.session.session_id == client.session_id
    assert (shown.session.last_operation, shown.session.last_cxid) == ("GETD", 2)


def test_a_connection_without_a_session_has_none_to_show(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.client_port)):
        world.turn()
        [shown] = world.view.connections()
        assert shown.session is None
        assert shown.interest == 0


def test_sessions_are_listed_by_wall_clock_of_their_expiry(world: World, client: RawClient) -> None:
    [bucket] = world.view.expiry_buckets()
    assert list(bucket.session_ids) == [client.session_id]
    assert 1_000_000 + 10_000 <= bucket.expires_ms <= 1_000_000 + 12_000


def test_ephemerals_and_watches_are_listed_by_owner(world: World, client: RawClient) -> None:
    assert {owner: set(paths) for owner, paths in world.view.ephemerals().items()} == {client.session_id: {b"/e"}}
    assert [(path, list(sessions)) for path, sessions in world.view.data_watches()] == [(b"/e", [client.session_id])]
    assert world.view.watch_totals() == (1, 1, 1)


def test_the_directory_takes_space(world: World, client: RawClient) -> None:
    assert world.view.directory_sizes()[1] > 0


def test_the_servers_counters_start_anew(world: World, client: RawClient) -> None:
    world.view.reset_server_statistics()
    overview = world.view.overview()
    assert (overview.received, overview.sent) == (0, 0)
    assert world.view.metrics()["cnt_fsynctime"] == 0
    client.send(get_data(3, b"/e"))
    world.turn()
    assert (world.view.overview().received, world.view.overview().sent) == (1, 1)


def test_the_connections_counters_start_anew_and_the_servers_do_not(world: World, client: RawClient) -> None:
    world.view.reset_connection_statistics()
    [shown] = world.view.connections()
    assert (shown.received, shown.sent) == (0, 0)
    assert world.view.overview().sent == 3


# --- a member of an ensemble ----------------------------------------------------------------------


def view_of(ensemble: Ensemble, server_id: int) -> View:
    """Only what concerns the ensemble may be asked of it."""
    host = ensemble[server_id]
    told = EnsembleConfig(server_id, host.member.members)
    elsewhere: Any = None
    port: Any = SimpleNamespace(connections={})
    return View(Config(ensemble=told), host.member, elsewhere, port, elsewhere, elsewhere, Tally(0))


def test_a_member_serves_while_it_leads_or_follows() -> None:
    ensemble = Ensemble(1, 2, 3, observers=[4])
    ensemble.settle()

    leader = ensemble.leader().server_id
    views = {server_id: view_of(ensemble, server_id) for server_id in (1, 2, 3, 4)}
    assert all(view.is_serving() for view in views.values())
    modes = {server_id: view.overview().mode for server_id, view in views.items()}
    assert modes == {1: "follower", 2: "follower", 3: "follower", 4: "observer", leader: "leader"}

    ensemble[4].replica.look("its leader is gone")
    assert not views[4].is_serving()


def test_a_member_without_a_leader_serves_reads_where_that_is_switched_on() -> None:
    ensemble = Ensemble(1, 2, 3, read_only_mode=True)
    ensemble.settle()
    ensemble.isolate(1)
    ensemble.pass_time(20_000)
    alone, others = view_of(ensemble, 1), view_of(ensemble, 2)

    assert (alone.is_serving(), alone.is_read_only(), alone.overview().mode) == (True, True, "read-only")
    assert alone.ensemble() is None
    assert (others.is_serving(), others.is_read_only()) == (True, False)


def test_a_leader_knows_its_learners_and_they_know_their_leader() -> None:
    ensemble = Ensemble(1, 2, 3, observers=[4])
    ensemble.settle()
    client = ensemble.leader().client()
    client.create(b"/a")
    ensemble.settle()
    leader = ensemble.leader().server_id

    figures = view_of(ensemble, leader).ensemble()
    assert figures is not None
    assert (figures.server_id, figures.leader_id, figures.epoch) == (leader, leader, 1)
    assert sorted((each.server_id, each.is_voter, each.is_in_step) for each in figures.learners) == sorted(
        (server_id, server_id != 4, True) for server_id in {1, 2, 3, 4} - {leader}
    )
    assert {each.acked_zxid for each in figures.learners} == {figures.logged_zxid}
    assert figures.members.voters == {1, 2, 3}

    learning = view_of(ensemble, 4).ensemble()
    assert learning is not None
    assert (learning.leader_id, learning.epoch, learning.learners) == (leader, 1, ())
    assert view_of(ensemble, 4).session_timeouts() == view_of(ensemble, leader).session_timeouts() != {}


def test_sessions_that_one_server_alone_knows_are_counted_there() -> None:
    ensemble = Ensemble(1, 2, 3, local_sessions=True)
    ensemble.settle()
    client = ensemble[1].client()
    views = [view_of(ensemble, server_id) for server_id in (1, 2, 3)]
    told = [[list(bucket.session_ids) for bucket in view.local_expiry_buckets() or ()] for view in views]
    assert told == [[[client.session_id]], [], []]
    assert view_of(Ensemble(1, 2, 3), 1).local_expiry_buckets() is None


def test_a_server_alone_is_no_ensemble(world: World) -> None:
    assert world.view.ensemble() is None
    assert world.view.is_serving()


def test_the_newest_digest_is_that_of_now(world: World, client: RawClient) -> None:
    tree = world.replica.tree
    assert list(world.view.digests())[-1] == (tree.zxid, tree.digest)
    zxids = [zxid for zxid, _ in world.view.digests()]
    assert zxids == sorted(set(zxids))
