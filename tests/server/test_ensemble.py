"""Three servers of one ensemble inside the test's own process: their disks, their evidence, their ports."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.raw import create, get_data
from tests.interop.raw import greeting as greet
from tests.server.test_service import Client, until
from zkstore.errors import ConfigError, DiskFullError, InvariantError
from zkstore.server import ensemble as hosts
from zkstore.server.config import Config
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.service import Service, open_service
from zkstore.storage.log import Epochs
from zkstore.storage.store import Store
from zkstore.wire.messages import LEADING
from zkstore.zab.membership import Membership, parse_member

pytestmark = pytest.mark.trio

IDS = (1, 2, 3)


@pytest.fixture
def configs(tmp_path: Path) -> dict[int, Config]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in IDS]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    lines = zip(IDS, ports, strict=True)
    membership = Membership(tuple(parse_member(n, f"127.0.0.1:{port}:{n}", "a test") for n, port in lines))
    return {
        n: Config(
            data_dir=tmp_path / str(n),
            client_host="127.0.0.1",
            client_port=0,
            tick_ms=200,
            session_timeout_ms_min=400,
            ensemble=EnsembleConfig(n, membership, init_limit=25, sync_limit=10),
        )
        for n in IDS
    }


@asynccontextmanager
async def running(configs: dict[int, Config]) -> AsyncIterator[dict[int, Service]]:
    """All that are configured, once all of them serve."""
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(open_service(each, lambda view: {})) for each in configs.values()]
            services = dict(zip(configs, opened, strict=True))
            async with trio.open_nursery() as nursery:
                for service in services.values():
                    await nursery.start(service.run)
                for service in services.values():
                    await service.wait_until_serving()
                yield services
                for service in services.values():
                    service.stop()


def leader_of(services: dict[int, Service]) -> Service:
    [leader] = [service for service in services.values() if service.member.peer.role == LEADING]
    return leader


def followers_of(services: dict[int, Service]) -> list[Service]:
    leader = leader_of(services)
    return [service for service in services.values() if service is not leader]


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[Client]:
    client = Client(await trio.open_tcp_stream(*service.address))
    await client.say(greet(10_000))
    await client.frame()
    yield client
    await client.close()


def refuse(segments: Any) -> None:
    raise DiskFullError("no space left")


async def test_what_one_server_acknowledged_is_on_all_disks_after_an_orderly_stop(configs: dict[int, Config]) -> None:
    async with running(configs) as services:
        async with client_of(followers_of(services)[0]) as client:
            assert (await client.ask(create(1, b"/a", b"data"))).code == 0
        end = leader_of(services).replica.tree.zxid
        await until(lambda: all(service.replica.tree.zxid >= end for service in services.values()))
        digests = {service.replica.tree.digest for service in services.values()}
        assert len(digests) == 1
    for service in services.values():
        assert service.clean_note is not None
        assert service.clean_note.zxid >= end
    async with running(configs) as again:
        for service in again.values():
            async with client_of(service) as client:
                assert (await client.ask(get_data(1, b"/a"))).body[4:8] == b"data"


@pytest.mark.parametrize("of_leader", [False, True])
async def test_a_server_whose_disk_is_full_stands_aside_until_there_is_space(
    configs: dict[int, Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    of_leader: bool,
) -> None:
    monkeypatch.setattr(hosts, "_PROBE_EVERY_MS", 300)
    caplog.set_level(logging.INFO)
    async with running(configs) as services:
        full = leader_of(services) if of_leader else followers_of(services)[0]
        other = next(service for service in followers_of(services) if service is not full)
        store = full.view._store
        append = store.append
        set_epochs = store.log.set_epochs
        async with client_of(leader_of(services)) as client:
            monkeypatch.setattr(store, "append", refuse)
            monkeypatch.setattr(store.log, "set_epochs", refuse)
            await client.say(create(1, b"/a"))
            await until(lambda: not full.replica.role.is_serving)
        await until(lambda: any(each.member.peer.role == LEADING for each in services.values() if each is not full))
        await until(lambda: other.replica.role.is_serving)
        async with client_of(other) as client:
            assert (await client.ask(create(1, b"/b"))).code == 0
        monkeypatch.setattr(store, "append", append)
        monkeypatch.setattr(store.log, "set_epochs", set_epochs)
        await until(lambda: full.replica.role.is_serving)
        await until(lambda: full.replica.tree.digest == other.replica.tree.digest)
    assert "takes no part until its disk takes writes" in caplog.text
    assert "the disk takes writes again" in caplog.text


async def test_a_server_whose_tree_differs_stops_and_says_where_the_evidence_is(configs: dict[int, Config]) -> None:
    stopped: list[InvariantError] = []

    async def run(service: Service) -> None:
        try:
            await service.run()
        except* InvariantError as errors:
            stopped.extend(error for error in errors.exceptions if isinstance(error, InvariantError))
            stopped.extend(
                inner
                for error in errors.exceptions
                if isinstance(error, ExceptionGroup)
                for inner in error.exceptions
                if isinstance(inner, InvariantError)
            )

    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            services = {
                n: await stack.enter_async_context(open_service(each, lambda view: {})) for n, each in configs.items()
            }
            async with trio.open_nursery() as nursery:
                for service in services.values():
                    nursery.start_soon(run, service)
                for service in services.values():
                    await service.wait_until_serving()
                wrong = followers_of(services)[0]
                async with client_of(leader_of(services)) as client:
                    await client.ask(create(1, b"/a"))
                    await until(lambda: b"/a" in wrong.replica.tree.records)
                    wrong.replica._recent[-1] = (wrong.replica._recent[-1][0], 12345)
                    for number in range(2, 6):
                        await client.ask(create(number, b"/%d" % number))
                    await until(lambda: stopped)
                for service in services.values():
                    service.stop()
    [error] = stopped
    assert error.invariant == "I15"
    assert f"the evidence is in {wrong.view.config().data_dir}" in str(error)


async def test_a_peer_port_in_use_is_a_setting_that_makes_no_sense(configs: dict[int, Config]) -> None:
    ensemble = configs[1].ensemble
    assert ensemble is not None
    [address] = ensemble.listen_addresses(ensemble.me)
    with (
        socket.create_server(address),
        pytest.raises(ConfigError, match=r"cannot listen for other servers on 127\.0\.0\.1:.*Correct the line"),
    ):
        async with open_service(configs[1], lambda view: {}):
            pytest.fail("it listens on a port that is taken")
    Store.open(configs[1].data_dir).close()


async def test_data_with_epochs_of_a_server_that_was_alone_begins_an_ensemble(
    configs: dict[int, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running({n: configs[n] for n in IDS}) as services, client_of(leader_of(services)) as client:
        await client.ask(create(1, b"/old"))
        end = leader_of(services).replica.tree.zxid
        await until(lambda: all(service.replica.tree.zxid >= end for service in services.values()))
    for config in configs.values():
        store = Store.open(config.data_dir)
        store.log.set_epochs(Epochs(0, 0))
        store.log._put({b"ensemble_id": None})
        store.recover()
        store.close()
    async with running(configs) as services:
        assert leader_of(services).member.peer.epoch > 1
        async with client_of(leader_of(services)) as client:
            assert (await client.ask(get_data(1, b"/old"))).code == 0


async def test_who_is_waited_for_is_said(
    configs: dict[int, Config], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hosts, "_PATIENT_WITH_OTHERS_MS", 100)
    with trio.fail_after(30):
        async with open_service(configs[1], lambda view: {}) as service, trio.open_nursery() as nursery:
            await nursery.start(service.run)
            await until(lambda: "servers that are not reached: 2, 3" in caplog.text)
            assert service.host is not None
            assert service.host.mode == "looking"
            service.stop()
