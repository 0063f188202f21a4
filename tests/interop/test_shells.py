"""The walk-through that people try first, from Apache's zkCli.sh and from `zkstore shell`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.interop.conftest import StartServer
from tests.interop.processes import ServerProcess
from tests.interop.shells import Said, Shell, zkcli, zkstore_shell

pytestmark = pytest.mark.interop


@pytest.fixture(params=[zkcli, zkstore_shell], ids=["zkCli", "zkstore-shell"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """Both in turn."""
    make: Callable[[], Shell] = request.param
    return make()


def results(said: Said) -> list[str]:
    """The lines on stdout without the greeting and the notes of connecting and closing."""
    kept = []
    for line in said.out:
        if line in ("", "WATCHER::", "Welcome to ZooKeeper!", "JLine support is disabled"):
            continue
        if not re.match("Connecting to |WatchedEvent .* type:None", line):
            kept.append(line)
    return kept


def test_the_walk_through(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(
        server, "create /test", 'set /test "count=0"', 'create /test2 "count=0"', "get /test", "get /test2"
    )
    assert said.code == 0
    assert results(said) == ["count=0", "count=0"]
    assert said.err == ["Created /test", "Created /test2"]


def test_a_second_shell_sees_at_once_what_the_first_one_changes(server: ServerProcess, shell: Shell) -> None:
    with shell.open(server) as first, shell.open(server) as second:
        first.type("create /test count=0")
        first.type("get /test")
        first.wait_for("count=0")
        second.type("get -w /test")
        second.wait_for("count=0")
        first.type("set /test count=1")
        second.wait_for("WatchedEvent state:SyncConnected type:NodeDataChanged path:/test")
        first.type("set /test count=2")
        first.type("get /test")
        first.wait_for("count=2")
        second.type("get /test")
        second.wait_for("count=2")
        assert not second.has_said("NodeDataChanged"), "a watch of get fires once"
        second.type("addWatch /test")
        second.type("sync /test")
        second.wait_for("Sync is OK")
        first.type("set /test count=3")
        second.wait_for("type:NodeDataChanged path:/test")
        first.type("create /test/child")
        second.wait_for("type:NodeCreated path:/test/child")
        first.type("deleteall /test")
        second.wait_for("type:NodeDeleted path:/test/child")
        second.wait_for("type:NodeDeleted path:/test")


def test_both_shells_see_each_other(server: ServerProcess) -> None:
    with zkcli().open(server) as apache, zkstore_shell().open(server) as ours:
        apache.type("create /shared 1")
        apache.type("addWatch /shared")
        apache.type("sync /shared")
        apache.wait_for("Sync is OK")
        ours.type("get -w /shared")
        ours.wait_for("1")
        ours.type("set /shared 2")
        apache.wait_for("type:NodeDataChanged path:/shared")
        ours.wait_for("type:NodeDataChanged path:/shared")


def test_a_shell_goes_on_over_a_kill_and_restart(server: ServerProcess, shell: Shell) -> None:
    with shell.open(server) as at:
        at.type("create /kept before")
        at.type("create -e /brief")
        at.type("addWatch /kept")
        at.type("get /kept")
        at.wait_for("before")
        server.kill()
        at.wait_for("state:Disconnected")
        server.start()
        at.wait_for("state:SyncConnected")
        at.type("ls /")
        at.wait_for("[brief, kept, zookeeper]")
        at.type("set /kept after")
        at.wait_for("type:NodeDataChanged path:/kept")


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ((), "KeeperErrorCode = Reconfig is disabled"),
        (("--reconfig-enabled", "true"), "KeeperErrorCode = Unimplemented"),
    ],
)
def test_a_server_alone_refuses_other_members(
    start_server: StartServer, shell: Shell, flags: tuple[str, ...], answer: str
) -> None:
    server = start_server(*flags)
    add, members = "reconfig -s -v 1F -add server.5=a:1:2;3 -remove 7", "reconfig -members server.1=a:1:2;3"
    said = shell.run(server, add, members, "reconfig -add a -members b", "config")
    assert said.err[:2] == [answer, answer]
    assert said.err[2].startswith("Can't use -file or -members together with -add or -remove")
    assert results(said) == []


def test_all_kinds_of_znodes(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(
        server,
        "create /p",
        "create -s /p/s- x",
        "create -e /p/e",
        "create -s -e /p/se-",
        "create -c /p/c",
        "create /p/c/child",
        "create /p/e/child",
        "getEphemerals",
        "ls -R /p",
        "getAllChildrenNumber /p",
        "ls /p",
    )
    assert said.err == [
        "Created /p",
        "Created /p/s-0000000000",
        "Created /p/e",
        "Created /p/se-0000000002",
        "Created /p/c",
        "Created /p/c/child",
        "Ephemerals cannot have children: /p/e/child",
    ]
    ephemerals, *tree, number, children = results(said)
    assert set(ephemerals.strip("[]").split(", ")) == {"/p/e", "/p/se-0000000002"}
    assert tree == ["/p", "/p/c", "/p/e", "/p/s-0000000000", "/p/se-0000000002", "/p/c/child"]
    assert (number, children) == ("5", "[c, e, s-0000000000, se-0000000002]")


def test_ephemerals_go_when_the_shell_quits(server: ServerProcess, shell: Shell) -> None:
    shell.run(server, "create -e /brief")
    assert results(shell.run(server, "ls /")) == ["[zookeeper]"]


def test_stat_shows_every_field(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(server, "create /a", "set /a abc", "create /a/b", "stat /a")
    fields = dict(line.split(" = ", 1) for line in results(said))
    assert list(fields) == [
        "cZxid",
        "ctime",
        "mZxid",
        "mtime",
        "pZxid",
        "cversion",
        "dataVersion",
        "aclVersion",
        "ephemeralOwner",
        "dataLength",
        "numChildren",
    ]
    zxids = [int(fields[name], 16) for name in ("cZxid", "mZxid", "pZxid")]
    assert zxids == [zxids[0], zxids[0] + 1, zxids[0] + 2]
    counts = [fields[name] for name in ("cversion", "dataVersion", "aclVersion", "dataLength", "numChildren")]
    assert counts == ["1", "1", "0", "3", "1"]
    assert fields["ephemeralOwner"] == "0x0"


def test_acls_and_authentication(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(
        server,
        "create /open",
        "getAcl /open",
        "addauth digest user:secret",
        "create /mine x auth::cdrwa",
        "getAcl /mine",
        "setAcl /open world:anyone:r",
        "getAcl /open",
        "set /open y",
        "get /mine",
    )
    assert results(said) == [
        "'world,'anyone",
        ": cdrwa",
        "'digest,'user:5w9W4eL3797Y4Wq8AcKUPPk8ha4=",
        ": cdrwa",
        "'world,'anyone",
        ": r",
        "x",
    ]
    assert said.err[-1] == "Insufficient permission : /open"
    stranger = shell.run(server, "get /mine", "getAcl /mine")
    assert stranger.err == ["Insufficient permission : /mine"] * 2


def test_a_subtree_is_deleted(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(
        server, "create /d", "create /d/e", "create /d/e/f", "delete /d", "deleteall /d", "ls /d", "delete /d"
    )
    assert said.err[3:] == ["Node not empty: /d", "Node does not exist: /d", "Node does not exist: /d"]


def test_versions_are_checked(server: ServerProcess, shell: Shell) -> None:
    said = shell.run(
        server, "create /v", "set -v 0 /v a", "set -v 0 /v b", "delete -v 0 /v", "get /v", "delete -v 1 /v"
    )
    assert said.err == ["Created /v", "version No is not valid : /v", "version No is not valid : /v"]
    assert results(said) == ["a"]


def test_a_command_in_the_arguments_gives_its_exit_code(server: ServerProcess, shell: Shell) -> None:
    assert shell.run_once(server, "create", "/once", "data").code == 0
    got = shell.run_once(server, "get", "/once")
    assert (got.code, results(got)) == (0, ["data"])
    missing = shell.run_once(server, "get", "/nowhere")
    assert (missing.code, missing.err) == (1, ["Node does not exist: /nowhere"])
