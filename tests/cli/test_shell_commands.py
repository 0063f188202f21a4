"""Commands against a tree in memory: what they ask of a client, and what they print."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from zkstore.cli.shell import program
from zkstore.cli.shell.commands import execute
from zkstore.cli.shell.quotas import Quota
from zkstore.cli.shell.shell import Settings, Shell
from zkstore.cli.shell.syntax import split
from zkstore.client import OPEN_ACL, Acl, Stat
from zkstore.errors import NodeExistsError, NoNodeError, NotEmptyError, ReconfigDisabledError

STAT = Stat(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1)


class FakeTransaction:
    def __init__(self, client: FakeClient) -> None:
        self.client = client
        self.paths: list[str] = []

    def delete(self, path: str) -> None:
        self.paths.append(path)

    async def commit(self) -> None:
        self.client.transactions.append(self.paths)
        for path in self.paths:
            await self.client.delete(path)


class FakeClient:
    """The part of `Client` that the commands under test use, on a dict."""

    def __init__(self) -> None:
        self.data: dict[str, bytes | None] = {}
        self.acls: dict[str, tuple[Acl, ...]] = {}
        self.transactions: list[list[str]] = []
        self.config: bytes | None = None
        self.asked: dict[str, Any] = {}
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/a", "/a/b", "/a/b/c", "/a/d"):
            self.data[path] = b""

    async def children(self, path: str) -> list[str]:
        self._check(path)
        prefix = path.rstrip("/") + "/"
        return sorted(
            p[len(prefix) :] for p in self.data if p.startswith(prefix) and "/" not in p[len(prefix) :] and p != "/"
        )

    async def children_and_stat(self, path: str, *, watch: Any) -> tuple[list[str], Stat]:
        return await self.children(path), STAT

    async def exists(self, path: str, *, watch: Any = None) -> Stat | None:
        return STAT if path in self.data else None

    async def get(self, path: str, *, watch: Any = None) -> tuple[bytes | None, Stat]:
        self._check(path)
        return self.data[path], STAT

    async def set(self, path: str, data: bytes, *, version: int) -> Stat:
        self._check(path)
        self.data[path] = data
        return STAT

    async def create(self, path: str, data: bytes | None, *, acl: tuple[Acl, ...] = OPEN_ACL, **kinds: Any) -> str:
        if path in self.data:
            raise NodeExistsError(path)
        self.data[path], self.acls[path] = data, acl
        return path

    async def delete(self, path: str, *, version: int = -1) -> None:
        if await self.children(path):
            raise NotEmptyError(path)
        del self.data[path]

    async def get_config(self, *, watch: Any) -> tuple[bytes | None, Stat]:
        return self.config, STAT

    async def reconfigure(self, **asked: Any) -> tuple[bytes | None, Stat]:
        if self.config is None:
            raise ReconfigDisabledError
        self.asked = asked
        return self.config, STAT

    async def add_auth(self, scheme: str, credential: bytes | None) -> None:
        self.asked = {scheme: credential}

    async def set_acl(self, path: str, acl: tuple[Acl, ...], *, version: int) -> Stat:
        self._check(path)
        self.acls[path] = acl
        return STAT

    def transaction(self) -> FakeTransaction:
        return FakeTransaction(self)

    def _check(self, path: str) -> None:
        if path not in self.data:
            raise NoNodeError(path)


@pytest.fixture
async def shell(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    """A shell whose client is a `FakeClient`."""
    settings = Settings(servers="fake:1", timeout_ms=1, read_only=False, wait=False, as_json=False)
    shell = Shell(settings, nursery, prints_states=False)
    monkeypatch.setattr(shell, "_client", FakeClient())
    yield shell


@pytest.mark.trio
@pytest.mark.parametrize(
    ("line", "status", "out", "err"),
    [
        ("create /n 'some data'", 0, "", "Created /n\n"),
        ("create /a", 1, "", "Node already exists: /a\n"),
        ("create n", 2, "", "Path must start with / character\n"),
        (
            "create -c -s /n",
            2,
            "",
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.\n",
        ),
        ("get /a", 0, "\n", ""),
        ("get /nope", 1, "", "Node does not exist: /nope\n"),
        ("set /a x", 0, "", ""),
        ("set -b /a x", 2, "", "the data is not base64: "),
        ("stat /nope", 1, "", "Node does not exist: /nope\n"),
        ("ls /a", 0, "[b, d]\n", ""),
        ("ls /a/d", 0, "[]\n", ""),
        ("ls -R /a", 0, "/a\n/a/b\n/a/d\n/a/b/c\n", ""),
        ("ls -R /nope", 1, "", "Node does not exist: /nope\n"),
        ("tree /a", 0, "/a\n├── b\n│   └── c\n└── d\n", ""),
        ("tree /a --depth 1", 0, "/a\n├── b\n└── d\n", ""),
        ("delete /a", 1, "", "Node not empty: /a\n"),
        ("printwatches", 0, "printwatches is on\n", ""),
        ("nonsense", 2, "", "Command not found nonsense"),
        ("listquota /a", 1, "", "quota for /a does not exist.\n"),
        ("delquota /a", 1, "", "Quota does not exist for /a\n"),
        ("setquota -n 0 /a", 2, "", "the num quota must be greater than zero\n"),
        ("setquota -n 1 -b 1 /a", 2, "", "setquota takes one of"),
        ("setquota -n 1 /nope", 1, "", "/nope does not exist.\n"),
        ("redo 5", 2, "", "Command index out of range\n"),
        ("config", 0, "\n", ""),
        ("config -c", 0, " \n", ""),
        ("reconfig -add server.5=a:1:2;3", 1, "", "KeeperErrorCode = Reconfig is disabled\n"),
        ("reconfig", 2, "", "reconfig [-s] [-v version] [[-file path] | "),
        ("reconfig -s", 2, "", "reconfig [-s] [-v version] [[-file path] | "),
        ("reconfig -add", 2, "", "Missing argument for option: -add\n"),
        ("reconfig -v xyz -remove 1", 2, "", "-v must be followed by a long (configuration version)\n"),
        ("reconfig -add a -members b", 2, "", "Can't use -file or -members together with -add or -remove (mixing"),
        ("reconfig -file a -members b", 2, "", "Can't use -file and -members together (conflicting"),
        ("reconfig -file /nowhere/at/all", 2, "", "Error processing /nowhere/at/all: "),
    ],
)
async def test_a_command_prints_its_answer(
    shell: Shell, capsys: pytest.CaptureFixture[str], line: str, status: int, out: str, err: str
) -> None:
    assert await execute(shell, split(line)) == status
    captured = capsys.readouterr()
    assert captured.out == out
    assert err in captured.err and bool(err) == bool(captured.err)


@pytest.mark.trio
async def test_deleteall_takes_leaves_first_and_in_batches(shell: Shell) -> None:
    client: Any = shell.client
    assert await execute(shell, ["deleteall", "/a", "-b", "3"]) == 0
    assert client.transactions == [["/a/b/c", "/a/d", "/a/b"], ["/a"]]
    assert not [path for path in client.data if path.startswith("/a")]


@pytest.mark.trio
async def test_set_acl_reaches_the_top_last(shell: Shell) -> None:
    client: Any = shell.client
    assert await execute(shell, ["setAcl", "-R", "/a", "world:anyone:r"]) == 0
    assert list(client.acls) == ["/a/b", "/a/d", "/a/b/c", "/a"]


@pytest.mark.trio
async def test_members_are_changed_and_shown(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    client: Any = shell.client
    client.config = b"server.1=One:2888:3888:participant;0.0.0.0:2181\nversion=100000003"
    line = "reconfig -s -v 1F -add server.2=Two:1:2;3 -remove 7 -add server.3=Three:1:2;3 -remove 8"
    assert await execute(shell, split(line)) == 0
    assert client.asked == {
        "joining": "server.2=two:1:2;3,server.3=three:1:2;3",
        "leaving": "7,8",
        "members": None,
        "from_version": 0x1F,
    }
    out = capsys.readouterr().out
    assert out.startswith(f"Committed new configuration:\n{client.config.decode()}\ncZxid = 0x1\n")
    assert await execute(shell, ["config", "-c"]) == 0
    assert capsys.readouterr().out == "100000003 One:2181\n"


@pytest.mark.trio
async def test_members_may_come_from_a_file(shell: Shell, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    client: Any = shell.client
    client.config = b"version=1"
    path = tmp_path / "zoo.cfg.dynamic"
    path.write_text("# all\nserver.1=a:2888:3888:participant;2181\nserver.2 = B:2888:3888;2181\nversion=100000000\n")
    assert await execute(shell, ["reconfig", "-file", str(path)]) == 0
    assert client.asked["members"] == "server.1=a:2888:3888:participant;2181\nserver.2=B:2888:3888;2181"
    for content, complaint in (("server.1=a\n", "does not have the form"), ("version=1\n", "it names no server")):
        path.write_text(content)
        assert await execute(shell, ["reconfig", "-file", str(path)]) == 2
        assert complaint in capsys.readouterr().err


@pytest.mark.trio
async def test_an_identity_may_be_asked_for_without_saying_more(shell: Shell) -> None:
    client: Any = shell.client
    assert await execute(shell, ["addauth", "x509"]) == 0
    assert client.asked == {"x509": None}
    assert await execute(shell, ["addauth", "digest", "a:b"]) == 0
    assert client.asked == {"digest": b"a:b"}


@pytest.mark.trio
async def test_quotas_are_set_changed_shown_and_removed(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    client: Any = shell.client
    limits, stats = "/zookeeper/quota/a/b/zookeeper_limits", "/zookeeper/quota/a/b/zookeeper_stats"
    await execute(shell, ["setquota", "-n", "2", "/a/b"])
    assert client.data[limits] == b"count=2,bytes=-1=;byteHardLimit=-1;countHardLimit=-1"
    assert client.data[stats] == b"count=0,bytes=0"
    client.data[stats] = b"count=3,bytes=5"
    await execute(shell, ["setquota", "-B", "4", "/a/b"])
    assert client.data[limits] == b"count=2,bytes=-1=;byteHardLimit=4;countHardLimit=-1"
    assert "less than the existing bytes:5" in capsys.readouterr().err
    await execute(shell, ["listquota", "/a/b"])
    assert capsys.readouterr().out == (
        "Output quota for /a/b count=2,bytes=-1=;byteHardLimit=4;countHardLimit=-1\n"
        "Output stat for /a/b count=3,bytes=5\n"
    )
    await execute(shell, ["delquota", "-n", "/a/b"])
    assert client.data[limits] == b"count=-1,bytes=-1=;byteHardLimit=4;countHardLimit=-1"
    await execute(shell, ["delquota", "/a/b"])
    assert [path for path in client.data if path.startswith("/zookeeper/quota/")] == []


@pytest.mark.trio
async def test_quotas_do_not_nest(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    await execute(shell, ["setquota", "-n", "2", "/a/b"])
    assert await execute(shell, ["setquota", "-n", "2", "/a/b/c"]) == 1
    assert "/a/b/c has a parent /a/b which has a quota" in capsys.readouterr().err
    assert await execute(shell, ["setquota", "-n", "2", "/a"]) == 1
    assert "/a has a child /a/b which has a quota" in capsys.readouterr().err
    assert await execute(shell, ["setquota", "-n", "2", "/a/d"]) == 0


@pytest.mark.trio
async def test_redo_repeats_a_command_and_stands_for_it_in_the_history(shell: Shell) -> None:
    shell.history = ["create /n", "redo 0"]
    assert await execute(shell, ["redo", "0"]) == 0
    assert shell.history == ["create /n", "create /n"]
    shell.history.append("redo 2")
    assert await execute(shell, ["redo", "2"]) == 2


@pytest.mark.trio
async def test_for_programs_every_answer_is_one_line_of_json(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.settings.as_json = True
    for line in ("get /a", "ls /a", "tree /a", "delete /a/d"):
        await execute(shell, split(line))
    data, names, tree, nothing = map(json.loads, capsys.readouterr().out.splitlines())
    assert (data["path"], data["data"], data["stat"]["czxid"]) == ("/a", "", 1)
    assert names == ["b", "d"]
    assert tree == {"/a": {"b": {"c": {}}, "d": {}}}
    assert nothing is None


def test_a_quota_is_read_back_and_older_text_without_hard_limits_too() -> None:
    quota = Quota(1, 2, 3, 4)
    assert Quota.parse(quota.encode()) == quota
    assert Quota.parse(b"count=5,bytes=-1") == Quota(5, -1, -1, -1)
    assert Quota.parse(b"rubbish") == Quota.parse(None) == Quota(-1, -1, -1, -1)


def test_a_command_without_need_of_a_server_runs_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("ZooKeeper CLI version: ")


def test_an_unknown_command_and_an_unknown_option_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["frobnicate"]) == 2
    with pytest.raises(SystemExit) as caught:
        program.main(["-frobnicate"])
    assert caught.value.code == 2


def test_servers_that_make_no_sense_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["-server", "host:nonsense", "ls", "/"]) == 2
    assert "'host:nonsense'" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(["--help"])
    assert caught.value.code == 0
    assert "zkstore shell -server 127.0.0.1:2181 ls /" in capsys.readouterr().out
