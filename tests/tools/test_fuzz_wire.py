"""The fuzzer: that it runs, and that what it checks can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import fuzz_targets, fuzz_wire
from tools.fuzz_targets import REQUESTS, attack, seeds, step
from tools.fuzz_world import World
from zkstore.model.acl import OPEN_ACL
from zkstore.model.watches import Watches
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest, PathWatchRequest

CREATE = CreateRequest(b"/a", b"1", OPEN_ACL, 0).encode()
GET = PathWatchRequest(b"/a", True).encode()
CORPUS = Path(__file__).parents[1] / "wire" / "corpus"


def test_two_seconds_of_it_break_no_promise(tmp_path: Path) -> None:
    command = [sys.executable, fuzz_wire.__file__, "--seconds", "2", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_atheris_hypothesis_chooses_the_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_wire.unguided(1, tmp_path) == 0
    assert "every promise was kept" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_every_seed_is_a_good_input() -> None:
    found = seeds()
    assert len(found) == len(set(found)) > 300
    for seed in found:
        attack(seed)


def test_what_an_hour_of_it_found_breaks_no_promise() -> None:
    kept = sorted(CORPUS.iterdir())
    assert len(kept) > 50
    for path in kept:
        attack(path.read_bytes())


def test_an_input_that_breaks_a_promise_is_kept_and_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reader, "boolean", lambda reader: {}[reader])
    with pytest.raises((KeyError, TypeError)):
        fuzz_wire.unguided(30, tmp_path)
    kept = list(tmp_path.iterdir())
    with pytest.raises((KeyError, TypeError)):
        fuzz_wire.replay(kept[-1:])
    monkeypatch.undo()
    assert fuzz_wire.replay(kept) == 0


def test_the_requests_of_an_input_are_answered() -> None:
    world = World()
    client = world.client()
    client.request(Opcode.CREATE, CREATE)
    world.settle()
    client.request(Opcode.GET_DATA, GET, in_two_pieces=True)
    world.settle()
    assert len(client.output) == (20 + 6) + (20 + 5 + 68)
    world.check()


def test_an_answer_that_does_not_come_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    client = world.client()
    monkeypatch.setattr(client.conversation.__class__, "answer", lambda *_: None)
    client.request(Opcode.EXISTS, GET)
    with pytest.raises(AssertionError, match=r"was not answered \[1\]"):
        world.check()


def test_a_watch_that_outlives_its_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watches, "drop", lambda *_: None)
    with pytest.raises(AssertionError, match="a watch outlives its connection"):
        attack(bytes([REQUESTS, 0]) + step(Opcode.EXISTS, GET))


def test_a_record_that_reads_otherwise_than_it_was_written_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathWatchRequest, "encode", lambda record: CREATE)
    number = fuzz_targets.EXAMPLES.index(PathWatchRequest(b"/a", True))
    with pytest.raises(AssertionError, match="came back as"):
        attack(bytes([fuzz_targets.RECORD, number]) + GET)
