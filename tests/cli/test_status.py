"""`zkstore status`: what servers say, compared and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

import pytest
import trio

from zkstore.cli import status, survey
from zkstore.cli.survey import Server, compare, read
from zkstore.client.hosts import Address

NOT_LISTED = "mntr is not executed because it is not in the whitelist.\n"


def answers(mode: str, zxid: int, **digests: int) -> dict[str, str]:
    return {
        "srvr": f"Zookeeper version: 3.9\nConnections: 3\nZxid: {zxid:#x}\nMode: {mode}\nNode count: 5\n",
        "mntr": f"zk_version\t3.9\nzk_global_sessions\t2\nzk_epoch\t{zxid >> 32}\n",
        "hash": "".join(f"{at.removeprefix('at')}: {digest}\n" for at, digest in digests.items()),
        "dirs": "datadir_size: 1024\nlogdir_size: 2048\n",
    }


def trio_of(*, second: Mapping[str, str] | None = None) -> list[Server]:
    return [
        read("a:1", answers("leader", 0x200000009, at200000008=7, at200000009=8)),
        read("b:2", second or answers("follower", 0x200000008, at200000008=7)),
        read("c:3", answers("observer", 0x100000044, at100000044=5)),
    ]


def test_a_table_shows_who_leads_and_who_lags() -> None:
    servers = trio_of()
    findings = compare(servers)

    assert findings == []
    assert status.as_text(survey.Survey(servers, findings)).splitlines() == [
        "SERVER  MODE      EPOCH         ZXID  LAG  DIGEST  SESSIONS  CLIENTS     DISK",
        "a:1     leader        2  0x200000009    0  agrees         2        2  3.0 KiB",
        "b:2     follower      2  0x200000008    1  agrees         2        2  3.0 KiB",
        "c:3     observer      1  0x100000044    -  -              2        2  3.0 KiB",
        "",
        "a:1 leads in epoch 2; 1 of 2 others compared, and they agree",
    ]


def test_a_server_that_answers_srvr_only_is_shown_as_far_as_it_goes() -> None:
    words = {**dict.fromkeys(("mntr", "hash", "dirs"), NOT_LISTED), "srvr": answers("leader", 0x300000001)["srvr"]}
    server = read("a:1", words)

    assert (server.epoch, server.zxid, server.sessions, server.disk_bytes) == (3, 0x300000001, None, None)
    assert compare([server]) == []
    assert status.as_text(survey.Survey([server], [])).splitlines()[1] == (
        "a:1     leader      3  0x300000001    0  -              -        2     -"
    )


def test_trees_that_differ_are_found() -> None:
    servers = trio_of(second=answers("follower", 0x200000009, at200000008=7, at200000009=9))

    assert compare(servers) == ["b:2: its tree differs from that of a:1"]
    assert "DIFFERS" in status.as_text(survey.Survey(servers, compare(servers)))


def test_a_moment_that_only_one_server_knows_is_not_compared() -> None:
    servers = trio_of(second=answers("follower", 0x200000007, at200000007=3))

    assert compare(servers) == []
    assert servers[1].agrees is None


@pytest.mark.parametrize(
    ("second", "findings"),
    [
        ({"srvr": "This ZooKeeper instance is not currently serving requests\n"}, [f"b:2: {survey.NOT_SERVING}"]),
        ({"srvr": "HTTP/1.1 400 Bad Request\r\n"}, ["b:2: no ZooKeeper server: it said 'HTTP/1.1 400 Bad Request'"]),
        ({"srvr": ""}, ["b:2: no ZooKeeper server: it said ''"]),
        (answers("leader", 0x100000001), ["several servers lead: a:1 (epoch 2), b:2 (epoch 1)"]),
        (answers("standalone", 5), ["no ensemble: b:2 stands alone"]),
    ],
)
def test_a_server_out_of_line_is_a_finding(second: dict[str, str], findings: list[str]) -> None:
    assert compare(trio_of(second=second)) == findings


def test_followers_without_their_leader_are_a_finding() -> None:
    assert compare(trio_of()[1:]) == ["none of these servers leads"]


def test_a_server_alone_is_well() -> None:
    servers = [read("a:1", answers("standalone", 5))]

    assert compare(servers) == []
    assert (servers[0].epoch, servers[0].lag) == (0, None)
    assert status.as_text(survey.Survey(servers, [])).endswith("\na:1 stands alone")


def test_for_programs_it_is_json() -> None:
    servers = [trio_of()[0], Server("b:2", "Connection refused")]
    shown = json.loads(status.as_json(survey.Survey(servers, compare(servers))))

    assert shown["findings"] == ["b:2: Connection refused"]
    assert shown["servers"][0]["zxid"] == "0x200000009"
    assert shown["servers"][1] == dict.fromkeys(shown["servers"][0]) | {
        "address": "b:2",
        "trouble": "Connection refused",
    }


def test_sizes_have_units_that_fit() -> None:
    servers = [
        read("a:1", {**answers("leader", 1), "dirs": f"datadir_size: {size}\nlogdir_size: 0\n"})
        for size in (9, 5 << 30)
    ]

    assert [line.split("  ")[-1] for line in status.as_text(survey.Survey(servers, [])).splitlines()[1:3]] == [
        "9 B",
        "5.0 GiB",
    ]


# --- over sockets ---------------------------------------------------------------------------------


async def serve_words(words: Mapping[str, str], stream: trio.SocketStream) -> None:
    word = (await stream.receive_some(4)).decode()
    await stream.send_all(words[word].encode())
    await stream.aclose()


@pytest.mark.trio
async def test_all_servers_are_asked_and_those_who_cannot_be_do_not_hold_up_the_others(nursery: trio.Nursery) -> None:
    addresses = []
    for handler in (partial(serve_words, answers("leader", 0x100000001, at100000001=1)), silent):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, [listener])
        addresses.append(Address("127.0.0.1", listener.socket.getsockname()[1]))
    [gone] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    addresses.append(Address("127.0.0.1", gone.socket.getsockname()[1]))
    await gone.aclose()

    found = await survey.survey(addresses, None, timeout_s=1.5)

    assert [server.trouble for server in found.servers] == [None, "no answer within 1.5 s", "Connection refused"]
    assert found.servers[0].mode == "leader"
    nursery.cancel_scope.cancel()


async def silent(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def test_who_is_named_wrongly_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["a:b:c"]) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err
