"""Tables read by pages: the same rows as by LMDB, in order, and never what a writer wrote over."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkstore.errors import DamageError, MovedOnError
from zkstore.storage.page_file import PageFile, pointers
from zkstore.storage.tables import Table, tables

KEYS = st.binary(min_size=1, max_size=12) | st.binary(min_size=300, max_size=511)
VALUES = st.binary(max_size=30) | st.integers(1, 3).map(lambda count: bytes(count * 3000))


def write(path: Path, rows: dict[bytes, bytes | None]) -> None:
    """One transaction; None deletes."""
    path.mkdir(exist_ok=True)
    env = lmdb.open(str(path), max_dbs=2, map_size=64 << 20)
    database = env.open_db(b"rows")
    with env.begin(write=True) as batch:
        for key, value in rows.items():
            if value is None:
                batch.delete(key, db=database)
            else:
                batch.put(key, value, db=database)
    env.close()


def opened(file: PageFile) -> Table:
    return tables(file, file.newest())[b"rows"]


def content(table: Table, start: bytes = b"", stop: bytes | None = None) -> dict[bytes, bytes]:
    return {key: value for rows in table.slices(start, stop) for key, value in rows}


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(st.dictionaries(KEYS, VALUES | st.none(), max_size=40), min_size=1, max_size=4),
    start=KEYS,
    stop=KEYS,
)
def test_a_table_reads_as_lmdb_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[bytes, bytes | None]], start: bytes, stop: bytes
) -> None:
    path = tmp_path_factory.mktemp("env")
    expected: dict[bytes, bytes] = {}
    for batch in batches:
        write(path, batch)
        expected.update({key: value for key, value in batch.items() if value is not None})
        for key in [key for key, value in batch.items() if value is None]:
            expected.pop(key, None)
    with PageFile(path / "data.mdb") as file:
        table = opened(file)
        assert list(content(table).items()) == sorted(expected.items())
        assert table.root.entries == len(expected)
        assert content(table, start, stop) == {key: expected[key] for key in expected if start <= key < stop}
        for key in (*expected, start, stop):
            assert table.get(key) == expected.get(key)
            before = max((each for each in expected if each <= key), default=None)
            assert table.floor(key) == (None if before is None else (before, expected[before]))
        wanted = sorted({*expected, start, stop})
        assert list(table.get_many(wanted)) == list(map(expected.get, wanted))


def test_what_a_writer_wrote_over_is_not_shown(tmp_path: Path) -> None:
    rows: dict[bytes, bytes | None] = {b"%05d" % each: b"x" * 50 for each in range(2000)}
    write(tmp_path, rows)
    with PageFile(tmp_path / "data.mdb") as file:
        table = opened(file)
        slices = table.slices(leaves=2)
        seen = dict(next(slices))
        write(tmp_path, dict.fromkeys(rows, b"y" * 50))
        seen.update(next(slices))  # one transaction on, all is still there
        assert set(seen.values()) == {b"x" * 50}
        for _ in range(3):
            write(tmp_path, dict.fromkeys(rows, b"z" * 50))
        with pytest.raises(MovedOnError):
            next(slices)
        with pytest.raises(MovedOnError):
            table.get(b"00001")
        with pytest.raises(MovedOnError):
            table.floor(b"00001")
        assert set(content(opened(file)).values()) == {b"z" * 50}


def test_a_damaged_page_is_named_and_can_be_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {b"%05d" % each: b"value %05d" % each for each in range(2000)})
    file = tmp_path / "data.mdb"
    whole = bytearray(file.read_bytes())
    page = whole.index(b"value 01000") // 4096
    whole[page * 4096 : page * 4096 + 4096] = bytes(4096)
    file.write_bytes(whole)
    with PageFile(file) as opened_file:
        table = opened(opened_file)
        with pytest.raises(DamageError, match=f"page {page} is not what was written"):
            content(table)
        with pytest.raises(DamageError):
            table.get(b"01000")
        damage: list[DamageError] = []
        found = [key for rows in table.slices(damage=damage) for key, _ in rows]
        assert len(damage) == 1
        assert found == sorted(found)
        assert 1800 < len(found) < 2000
        assert table.get(b"00001") == b"value 00001"


def test_pages_that_lead_in_circles_are_damage(tmp_path: Path) -> None:
    write(tmp_path, {b"%05d" % each: bytes(300) for each in range(500)})
    file = tmp_path / "data.mdb"
    with PageFile(file) as opened_file:
        root = opened(opened_file).root
        nodes = pointers(opened_file.page(root.page))
    whole = bytearray(file.read_bytes())
    for node in nodes:  # each child becomes the branch itself
        at = root.page * 4096 + node
        whole[at : at + 4] = root.page.to_bytes(4, "little")
    file.write_bytes(whole)
    damage: list[DamageError] = []
    with PageFile(file) as opened_file:
        assert list(opened(opened_file).slices(damage=damage)) == []
        assert len(damage) == len(nodes)
        with pytest.raises(DamageError):
            opened(opened_file).get(b"00001")
        with pytest.raises(DamageError):
            opened(opened_file).floor(b"00001")


def test_large_values_come_a_few_at_a_time(tmp_path: Path) -> None:
    write(tmp_path, {b"%05d" % each: bytes(1 << 20) for each in range(20)})
    with PageFile(tmp_path / "data.mdb") as file:
        sizes = [len(rows) for rows in opened(file).slices()]
    assert sum(sizes) == 20
    assert max(sizes) <= 5
