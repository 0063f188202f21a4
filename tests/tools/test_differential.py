"""The differential tester with servers: Apache ZooKeeper beside zkstore, and zkstore beside another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tools import contestants, differential
from tools.differential_generate import Generator
from tools.differential_run import Pair, reference, servers, shrink
from tools.differential_script import Connect, Send, Step
from zkstore.model.acl import OPEN_ACL
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import CreateRequest, CreateTtlRequest


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Apache ZooKeeper and zkstore."""
    apache = reference()
    if apache is None:
        assert os.environ.get("CI") != "true", "Apache ZooKeeper is missing"
        pytest.skip("Apache ZooKeeper is not installed")
    with servers([apache, contestants.zkstore()], tmp_path_factory.mktemp("differential")) as addresses:
        yield Pair(addresses)


def test_apache_zookeeper_and_zkstore_answer_alike(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    code = differential.compare(pair, range(1, 21), 60)
    assert code == 0, capsys.readouterr().out
    assert pair.answers["create", 0] > 50


@pytest.mark.long
def test_they_answer_alike_for_long(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    code = differential.compare(pair, range(1000, 1600), 200)
    assert code == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def unequal_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two zkstores, of which one does not serve TTL znodes."""
    usual = contestants.zkstore()
    other = replace(usual, name="without TTL znodes", settings={"extendedTypesEnabled": "false"})
    with servers([usual, other], tmp_path_factory.mktemp("unequal")) as addresses:
        yield Pair(addresses)


def test_a_difference_is_found_and_shrunk_to_the_steps_that_it_takes(unequal_pair: Pair) -> None:
    create = Send("b", 9, Opcode.CREATE_TTL, CreateTtlRequest(b"~/c", b"", OPEN_ACL, CreateMode.TTL, 1000))
    needed: list[Step] = [Connect("b", "s2", is_new=True), create]
    script = [Connect("a", "s1", is_new=True), *needed]
    for xid in range(1, 6):
        script.insert(1, Send("a", xid, Opcode.CREATE, CreateRequest(b"~/a", b"", OPEN_ACL, CreateMode.PERSISTENT)))
    found = unequal_pair.play(script)
    assert found is not None and found.step == len(script) - 1
    assert shrink(script, lambda kept: unequal_pair.play(kept) is not None) == needed


def test_a_difference_is_printed_with_the_command_that_shows_it_again(
    unequal_pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert differential.compare(unequal_pair, range(3, 4), 200) == 1
    report = capsys.readouterr().out
    assert "again: python tools/differential.py --seed 3 --scripts 1 --steps 200 --only " in report
    assert "sees from without TTL znodes:\n      answer to xid" in report
    assert "code -6\n" in report
    assert "1 of them with a difference" in report


def test_equal_servers_leave_nothing_behind_that_a_later_script_could_see(unequal_pair: Pair) -> None:
    script = [step for step in Generator(4).script(80) if not _may_ask_for_ttl(step)]
    assert len(script) > 40
    assert unequal_pair.play(script) is None
    assert unequal_pair.play(script) is None


def _may_ask_for_ttl(step: Step) -> bool:
    if not isinstance(step, Send):
        return False
    return step.opcode in (Opcode.CREATE_TTL, Opcode.MULTI) or getattr(step.body, "flags", 0) >= CreateMode.TTL


def test_without_apache_zookeeper_the_program_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contestants, "APACHE_ENVIRONMENT", Path("/nowhere/zkEnv.sh"))
    assert differential.main([]) == 2
    assert "Apache ZooKeeper is missing (/nowhere/zkEnv.sh)" in capsys.readouterr().err
