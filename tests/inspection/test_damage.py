"""Randomly damaged copies of a directory: whatever is shown is what was written, or damage is told; never a crash."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.inspection.directories import Made, make
from zkstore.cli.inspect import main
from zkstore.errors import StorageError
from zkstore.inspection.source import open_source
from zkstore.model.txns import Txn
from zkstore.wire import segment as segments_

COMMANDS = (
    ["summary", "--full"],
    ["tree"],
    ["ls", "/many", "-l"],
    ["get", "/app/a"],
    ["stat", "/app/big"],
    ["acl", "/app/a"],
    ["sessions"],
    ["find", "n0"],
    ["grep", "content"],
    ["du", "--depth", "2"],
    ["top"],
    ["log"],
    ["verify"],
    ["verify", "--json"],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("sound") / "data")


def _flip(dice: random.Random, content: bytearray) -> None:
    for _ in range(dice.choice((1, 1, 3, 20))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def _flip_in_head(dice: random.Random, content: bytearray) -> None:
    page = dice.randrange(len(content) // 4096 or 1) * 4096
    content[min(page + dice.randrange(48), len(content) - 1)] ^= 1 << dice.randrange(8)


def _blank(dice: random.Random, content: bytearray) -> None:
    at = dice.randrange(len(content) // 4096 or 1) * 4096
    content[at : at + 4096] = bytes(len(content[at : at + 4096]))


def _noise(dice: random.Random, content: bytearray) -> None:
    at, length = dice.randrange(len(content)), dice.choice((8, 100, 4096))
    content[at : at + length] = dice.randbytes(len(content[at : at + length]))


def _swap(dice: random.Random, content: bytearray) -> None:
    pages = len(content) // 4096 or 1
    one, other = (dice.randrange(pages) * 4096 for _ in range(2))
    content[one : one + 4096], content[other : other + 4096] = (
        content[other : other + 4096],
        content[one : one + 4096],
    )


def _number(dice: random.Random, content: bytearray) -> None:
    """A length or pointer that is far off."""
    at = dice.randrange(0, max(len(content) - 8, 1), 2)
    content[at : at + 8] = dice.choice((b"\xff" * 8, b"\0" * 8, b"\xff\xff\0\0\0\0\0\x7f"))[: len(content) - at]


def _cut(dice: random.Random, content: bytearray) -> None:
    del content[dice.randrange(len(content) + 1) :]


def _lengthen(dice: random.Random, content: bytearray) -> None:
    content += dice.randbytes(dice.choice((1, 4096, 10_000)))


KINDS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _flip,
    _flip_in_head,
    _blank,
    _noise,
    _swap,
    _number,
    _cut,
    _lengthen,
)


def spoil(root: Path, dice: random.Random) -> str:
    """Damage one file or some; returns what was done."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        file = dice.choice([path for path in files if path.name == "data.mdb"] if dice.random() < 0.85 else files)
        if dice.random() < 0.04:
            file.unlink(missing_ok=True)
            done.append(f"no {file.relative_to(root)}")
        elif file.exists() and file.stat().st_size:
            content = bytearray(file.read_bytes())
            kind = dice.choice(KINDS)
            kind(dice, content)
            file.write_bytes(content)
            done.append(f"{kind.__name__} {file.relative_to(root)}")
    return ", ".join(done)


def run(arguments: list[str]) -> tuple[int, str, str]:
    """A command's exit code and what it printed; in this process, so that a crash of any kind is seen."""
    out, errors = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = main(arguments)
    return code, out.getvalue(), errors.getvalue()


def check(made: Made, place: Path, seed: int) -> None:
    """One damaged copy: each command ends in order, and what the library shows is true or is called damaged."""
    dice = random.Random(seed)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made.root, place)
    what = f"seed {seed}: {spoil(place, dice)}"
    for command in COMMANDS if seed % 5 == 0 else dice.sample(COMMANDS, 3):
        code, _, errors = run([str(place), *command])
        assert code in (0, 1), f"{what}: {command} ended with {code}: {errors}"
    try:
        with open_source(place) as source:
            view = source.view()
            found = dict(view.znodes())
            is_told = bool(source.damage or source.facts.troubles)
            assert is_told or found == made.states[view.zxid], f"{what}: the tree at {view.zxid:#x} is another one"
            before = len(source.damage)
            txns = dict(source.txns())
            is_told = is_told or len(source.damage) > before
            written = written_txns(made)
            for zxid, txn in txns.items():
                assert written.get(zxid) == txn, f"{what}: the txn {zxid:#x} is another one"
            assert is_told or list(txns) == [zxid for zxid in written if zxid <= view.zxid], f"{what}: txns are missing"
    except StorageError as error:
        assert str(error), what


def written_txns(made: Made) -> dict[int, Txn]:
    return {
        zxid: txn
        for segment in made.history.segments
        for zxid, txn in enumerate(segments_.txns(segment), segment.first_zxid)
    }


def test_damaged_copies_are_shown_as_far_as_they_can_be_read(made: Made, tmp_path: Path) -> None:
    for seed in range(200):
        check(made, tmp_path / "copy", seed)


@pytest.mark.long
def test_ten_thousand_damaged_copies_are_shown_as_far_as_they_can_be_read(made: Made, tmp_path: Path) -> None:
    for seed in range(10_000):
        check(made, tmp_path / "copy", seed)


def test_a_sound_copy_is_shown_whole(made: Made) -> None:
    for command in COMMANDS:
        code, out, errors = run([str(made.root), *command])
        assert code == 0, f"{command}: {errors}"
        assert out
        assert not errors
