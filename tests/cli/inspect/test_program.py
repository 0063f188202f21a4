"""`zkstore inspect` as it is typed: the answers, exit codes, paging, and a line that helps where something is wrong."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inspection.directories import EPOCH, OTHER_SESSION, Made, make
from tests.inspection.test_damage import run
from tests.storage.histories import History
from zkstore.cli.inspect.program import COMMANDS
from zkstore.cli.main import main as zkstore
from zkstore.storage.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("program") / "data")


def lines(made: Made, *arguments: str, code: int = 0) -> list[str]:
    found, out, errors = run([str(made.root), *arguments])
    assert (found, errors) == (code, "")
    return out.splitlines()


def values(made: Made, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(made, *arguments, "--json")]


# --- usage ----------------------------------------------------------------------------------------


def test_help_names_every_command_and_gives_examples() -> None:
    code, out, _ = run(["--help"])
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "zkstore inspect data tree /app --depth 2" in out
    assert run([])[0] == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    code, out, _ = run(["data", name, "--help"])
    assert code == 0
    assert f"zkstore inspect PATH {name}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "there is no command 'frobnicate'; there are summary, ls,"),
        (["get"], "the following arguments are required: ZNODE"),
        (["ls", "--limit", "-1"], "argument --limit: invalid"),
        (["top", "--by", "colour"], "--by"),
        (["ls", "--frob"], "--frob"),
    ],
)
def test_wrong_usage_ends_with_2(made: Made, arguments: list[str], words: str) -> None:
    code, _, errors = run([str(made.root), *arguments])
    assert code == 2
    assert words in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["get", "/none"], "there is no znode /none at 0x20"),
        (["get", "none"], "'none' is no path of a znode: it begins with a slash"),
        (["ls", "--at", "0x1"], "cannot be seen any more: history reaches over 0x10"),
        (["ls", "--at", "0x900000000"], "history ends at 0x2"),
        (["ls", "--at", "1999-01-01"], "lies before history: history reaches over"),
        (["ls", "--at", "soon"], "is no moment. Write a zxid"),
        (["log", "--session", "me"], "'me' is no session id"),
        (["grep", "("], "is no regular expression"),
    ],
)
def test_no_is_one_line_that_says_what_to_do(tmp_path: Path, arguments: list[str], words: str) -> None:
    made = make(tmp_path / "data", purges=True)
    code, out, errors = run([str(made.root), *arguments])
    assert (code, out) == (1, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_path_that_is_no_source_is_one_line(tmp_path: Path) -> None:
    code, _, errors = run([str(tmp_path / "none"), "ls"])
    assert code == 1
    assert errors.startswith(
        f"zkstore inspect: {tmp_path}/none: there is no such file or directory. There is {tmp_path}"
    )


def test_options_may_stand_before_the_command(made: Made) -> None:
    expected = lines(made, "ls", "/app", "--at", "0x100000006")
    assert lines(made, "--at", "0x100000006", "ls", "/app") == expected
    assert "null" in expected


# --- the commands ---------------------------------------------------------------------------------


def test_the_summary_tells_what_there_is(made: Made) -> None:
    text = "\n".join(lines(made))
    for words in ("znodes", "sessions", "newest zxid", "can be seen from  0x0", "last stop", "in order", "history of"):
        assert words in text
    (value,) = values(made)
    assert value["zxid"] == f"{made.end:#x}"
    assert value["reach"] == [["0x0", f"{made.end:#x}"]]
    assert isinstance(value["tree"], dict)
    assert value["tree"]["znodes"] == len(made.states[made.end])
    (full,) = values(made, "summary", "--full")
    assert isinstance(full["tree"], dict)
    assert full["tree"]["data_bytes"] == made.history.tree.data_bytes


def test_a_members_summary_tells_what_is_known_to_be_committed(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.recover()
    store.log.set_ensemble_id(bytes(range(16)))
    store.append(history.fill(3))
    store.close()
    code, out, _ = run([str(tmp_path)])
    assert code == 0
    assert "committed" in out
    assert "at least up to 0x100000002; the ensemble may yet give up what lies behind" in out


def test_one_znode_is_shown(made: Made, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert lines(made, "get", "/app-b") == ["beside"]
    assert lines(made, "get", "/app/null", "--at", str(EPOCH + 6)) == ["null"]
    assert lines(made, "get", "/app/big")[-1] == "9000 bytes; --raw gives them as they are"
    assert lines(made, "get", "/app/big")[0].startswith("00000000  ")
    assert values(made, "get", "/app/a") == [{"path": "/app/a", "data": "m"}]
    stat = "\n".join(lines(made, "stat", "/app/eph"))
    assert "ephemeralOwner  0x1000000000001" in stat
    assert "kind            ephemeral" in stat
    assert lines(made, "acl", "/app/a") == ["digest  u:p  cdrwa"]
    assert values(made, "acl", "/")[0]["acl"] == [{"scheme": "world", "id": "anyone", "perms": "cdrwa"}]


def test_data_goes_out_raw(made: Made) -> None:
    command = [sys.executable, "-m", "zkstore", "inspect", str(made.root), "get", "/app/big", "--raw"]
    found = subprocess.run(command, capture_output=True, check=True)
    assert len(found.stdout) == 9000
    assert found.stdout in made.states[made.end][b"/app/big"]


def test_a_tree_is_drawn(made: Made) -> None:
    drawn = lines(made, "tree", "/new")
    assert drawn == ["/new", "└── deep", "    └── er"]
    assert lines(made, "tree", "/", "--depth", "1")[-1].startswith("└── zookeeper  (2 children)")
    assert len(lines(made, "tree")) == len(made.states[made.end])


@pytest.mark.parametrize("limit", [1, 7, 50])
@pytest.mark.parametrize(
    "command", [["ls", "/many"], ["tree", "/app"], ["tree", "/"], ["find", "n"], ["log"], ["grep", "a"]]
)
def test_pages_put_together_are_the_whole(made: Made, command: list[str], limit: int) -> None:
    whole = lines(made, *command, "--json")
    pages: list[str] = []
    after: list[str] = []
    while True:
        page = lines(made, *command, "--json", "--limit", str(limit), *after)
        last = json.loads(page[-1]) if page else {}
        if set(last) != {"after"}:
            break
        assert len(page) == limit + 1
        pages += page[:-1]
        after = ["--after", last["after"]]
    assert pages + page == whole


def test_the_last_line_of_a_page_is_the_next_command(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [str(made.root), "ls", "/many", "--limit", "3"]
    seen: list[str] = []
    for _ in range(3):
        monkeypatch.setattr(sys, "argv", ["zkstore", "inspect", *arguments])
        code, out, _ = run(arguments)
        assert code == 0
        *page, last = out.splitlines()
        seen += page
        assert last.startswith("more: zkstore inspect ")
        arguments = shlex.split(last)[3:]
    assert seen == lines(made, "ls", "/many")[:9]


def test_sessions_show_what_they_own(made: Made) -> None:
    (session,) = values(made, "sessions")
    assert session == {"session": "0x1000000000001", "timeout_ms": 30000, "ephemerals": ["/app/eph"]}
    before = values(made, "sessions", "--at", str(EPOCH + 9))
    assert [each["session"] for each in before] == [f"{OTHER_SESSION & (1 << 64) - 1:#x}", "0x1000000000001"]
    assert "0x1000000000001     30 s           1  /app/eph" in lines(made, "sessions")


def test_find_and_grep_count_and_answer_no(made: Made) -> None:
    assert lines(made, "find", "/many/01*", "--count") == [
        str(sum(path.startswith(b"/many/01") for path in made.states[made.end]))
    ]
    assert lines(made, "grep", "-F", "beside") == ["/app-b: beside"]
    assert lines(made, "find", "nobody", code=1) == []
    assert lines(made, "grep", "nobody", "--count", code=1) == ["0"]


def test_sizes_are_shown_with_bars(made: Made) -> None:
    du = lines(made, "du")
    assert du[0].split() == ["BYTES", "ZNODES", "PART", "PATH"]
    assert "100.0%" in du[1]
    assert "█" in du[1]
    assert lines(made, "top", "--by", "data", "--limit", "1")[1].endswith("/app/big")


def test_the_log_shows_each_kind_of_txn(made: Made) -> None:
    text = "\n".join(lines(made, "log"))
    for words in (
        "createSession timeout 30000 ms",
        "create        /app/null  null",
        "setData       /app/a  v1  version 1",
        "delete        /app/n",
        "setACL        /app/a  version 1  acl digest:u:p:31",
        "multi         create /new  n; setData /app/a  m  version 5",
        "closeSession  /app/other",
        "error         -101 NoNode",
    ):
        assert words.replace("/app/n\n", "") in text or words == "delete        /app/n", words
    assert len(lines(made, "log", "--from", "0x100000002", "--to", "0x100000003")) == 2
    assert len(lines(made, "log", "--session", hex(OTHER_SESSION & (1 << 64) - 1))) == 2
    since = lines(made, "log", "--from", "2023-11-14T22:13:25Z", "--to", "2023-11-14T22:13:25.500Z")
    assert len(since) == 20


def test_verify_says_that_all_is_well(made: Made) -> None:
    assert lines(made, "verify")[0].startswith(f"all is well: {len(made.history.segments)} segments")
    assert values(made, "verify")[0]["findings"] == []


@pytest.mark.parametrize("history", [[], ["--history"]])
def test_every_command_reads_a_backup(made: Made, tmp_path: Path, history: list[str]) -> None:
    backup = str(tmp_path / "backup")
    assert zkstore(["backup", str(made.root), backup, *history]) == 0
    for command in COMMANDS:
        arguments = {"get": ["/app-b"], "find": ["a"], "grep": ["a"]}.get(command, [])
        if command in ("stat", "acl", "history", "blame"):
            arguments = ["/app"]
        code, out, errors = run([backup, command, *arguments])
        assert code == 0, f"{command}: {out} {errors}"
    assert run([backup, "get", "/app-b"])[1] == "beside\n"
    assert bool(run([backup, "log"])[1]) is bool(history)


# --- how it looks ---------------------------------------------------------------------------------


def on_terminal(made: Made, *arguments: str, **environment: str) -> str:
    """What a person sees."""
    leader, follower = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | environment
    command = [sys.executable, "-m", "zkstore", "inspect", str(made.root), *arguments]
    child = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=env)
    os.close(follower)
    seen = b""
    try:
        while chunk := os.read(leader, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(leader)
    assert child.wait() == 0
    return seen.decode()


def test_colours_are_for_terminals_and_for_those_who_want_them(made: Made) -> None:
    assert "\x1b[" in on_terminal(made, "ls", "/")
    assert "\x1b[" not in on_terminal(made, "ls", "/", NO_COLOR="1")
    assert "\x1b[" not in "".join(lines(made, "ls", "/"))


def test_a_reader_who_goes_away_is_no_error(made: Made) -> None:
    command = f"{shlex.quote(sys.executable)} -m zkstore inspect {shlex.quote(str(made.root))} log | head -1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("0x100000001")
    assert found.stderr == ""


def test_a_start_is_quick(made: Made) -> None:
    code = "import sys, zkstore.cli.main as m; m.main(['inspect', sys.argv[1], 'ls']); print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code, str(made.root)], capture_output=True, text=True, check=True)
    modules = found.stdout.splitlines()[-1]
    assert "'trio'" not in modules
    assert "'zkstore.cli.inspect.summary'" not in modules
