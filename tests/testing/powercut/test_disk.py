"""The model of a disk: what is safe is there, and what is not may be there or not, but never anything else."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from zkstore.testing.powercut import choices
from zkstore.testing.powercut.disk import SECTOR_BYTES, Disk, Image
from zkstore.testing.powercut.events import (
    ROOT,
    Create,
    Event,
    File,
    Mapped,
    Recording,
    Remove,
    Rename,
    Resize,
    Sync,
    Write,
)

A = b"a" * SECTOR_BYTES
B = b"b" * SECTOR_BYTES


def after(*events: Event, before: list[File] | None = None) -> Disk:
    recording = Recording({}, before or [], list(events))
    disk = Disk(recording)
    for event in events:
        disk.take(event)
    return disk


def left(disk: Disk, kind: str) -> Image:
    return disk.image(choices.make(disk, kind, 0))


def drawn(disk: Disk, count: int = 200) -> list[Image]:
    return [disk.image(choices.make(disk, choices.DRAWN, number)) for number in range(count)]


def test_what_was_there_before_is_safe() -> None:
    before = [File(ROOT, "d", 1, None), File(1, "f", 2, b"x")]
    assert left(after(before=before), choices.NOTHING) == {"d": None, "d/f": b"x"}


def test_a_new_file_needs_its_directory_synced_and_its_content() -> None:
    made = Create(ROOT, "f", 1, False), Write(1, 0, b"x", False)
    assert left(after(*made), choices.NOTHING) == {}
    assert left(after(*made), choices.ALL) == {"f": b"x"}
    assert left(after(*made, Sync(1)), choices.NOTHING) == {}
    assert left(after(*made, Sync(ROOT)), choices.NOTHING) == {"f": b""}
    assert left(after(*made, Sync(ROOT), Sync(1)), choices.NOTHING) == {"f": b"x"}


def test_a_write_that_waits_for_the_disk_makes_its_own_bytes_safe_and_no_others() -> None:
    before = [File(ROOT, "f", 1, A + A)]
    disk = after(Write(1, 0, B, False), Write(1, SECTOR_BYTES, B, True), before=before)
    assert left(disk, choices.NOTHING) == {"f": A + B}
    assert {image["f"] for image in drawn(disk)} == {A + B, B + B}


def test_a_length_may_be_there_without_the_content_and_the_other_way_round() -> None:
    disk = after(Write(1, 0, A + B, False), before=[File(ROOT, "f", 1, b"")])
    found = {image["f"] for image in drawn(disk, 500)}
    assert {b"", A + B, bytes(2 * SECTOR_BYTES), A + bytes(SECTOR_BYTES), bytes(SECTOR_BYTES) + B} <= found
    assert {len(content) for content in found if content is not None} == {0, 2 * SECTOR_BYTES}


def test_a_file_cut_off_and_written_anew_may_be_anything_between() -> None:
    disk = after(Resize(1, 0), Write(1, 0, b"new", False), before=[File(ROOT, "f", 1, b"old one")])
    assert {b"old one", b"", b"new", b"old"} <= {image["f"] for image in drawn(disk)}


def test_a_rename_is_there_whole_or_not_at_all() -> None:
    disk = after(Rename(ROOT, "f", ROOT, "g"), before=[File(ROOT, "f", 1, b"1"), File(ROOT, "g", 2, b"2")])
    assert {frozenset(image.items()) for image in drawn(disk)} == {
        frozenset({("f", b"1"), ("g", b"2")}),
        frozenset({("g", b"1")}),
    }


def test_changes_of_other_names_overtake_each_other_and_those_of_one_name_do_not() -> None:
    events = Rename(ROOT, "f", ROOT, "g"), Remove(ROOT, "g"), Create(ROOT, "h", 2, False)
    disk = after(*events, before=[File(ROOT, "f", 1, b"1")])
    assert {frozenset(image) for image in drawn(disk)} == {
        frozenset(names) for names in ({"f"}, {"g"}, (), {"f", "h"}, {"g", "h"}, {"h"})
    }
    assert left(after(*events, Sync(ROOT), before=[File(ROOT, "f", 1, b"1")]), choices.NOTHING) == {"h": b""}


def test_names_in_a_directory_are_not_safe_by_a_sync_of_its_parent() -> None:
    events = Create(ROOT, "d", 1, True), Create(1, "f", 2, False), Sync(ROOT)
    assert left(after(*events), choices.NOTHING) == {"d": None}
    assert left(after(*events, Sync(1)), choices.NOTHING) == {"d": None, "d/f": b""}


def test_a_rename_between_directories_is_safe_when_both_are_synced() -> None:
    before = [File(ROOT, "d", 1, None), File(ROOT, "f", 2, b"")]
    move = Rename(ROOT, "f", 1, "g")
    for syncs in ((), (Sync(1),), (Sync(ROOT),)):
        disk = after(move, *syncs, before=before)
        assert left(disk, choices.NOTHING) == {"d": None, "f": b""}
        assert left(disk, choices.ALL) == {"d": None, "d/g": b""}
    assert left(after(move, Sync(ROOT), Sync(1), before=before), choices.NOTHING) == {"d": None, "d/g": b""}
    late = after(move, Create(ROOT, "f", 3, False), Sync(ROOT), before=before)
    assert left(late, choices.NOTHING) == {"d": None, "f": b""}
    assert set(map(len, drawn(late, 20))) == {2, 3}


def test_memory_that_was_shared_holds_anything() -> None:
    disk = after(Mapped(1), before=[File(ROOT, "lock.mdb", 1, A)])
    found = {image["lock.mdb"] for image in drawn(disk, 20)}
    assert bytes(SECTOR_BYTES) in found and len(found) > 2


def test_a_choice_is_made_again_from_its_name() -> None:
    disk = after(Write(1, 0, A * 50, False), Write(1, 300, B * 50, False), before=[File(ROOT, "f", 1, b"")])
    assert drawn(disk, 50) == drawn(disk, 50)


def test_some_plain_choice_ends_behind_every_event() -> None:
    disk = after(Create(ROOT, "f", 1, False), Write(1, 0, A, False), Write(1, 0, B, False))
    plain = list(choices.plain(disk))
    assert plain[:2] == [(choices.ALL, 0), (choices.NOTHING, 0)]
    assert {number for kind, number in plain if kind == choices.BEFORE} == {0, 1, 2}


WRITES = st.lists(st.tuples(st.integers(0, 4_000), st.binary(min_size=1, max_size=1_500)), min_size=1, max_size=6)


@given(WRITES, st.integers(0, 6), st.integers(0, 1 << 32))
def test_each_sector_holds_what_it_has_held_at_some_time_since_the_last_sync(
    writes: list[tuple[int, bytes]], synced: int, seed: int
) -> None:
    events: list[Event] = [Write(1, offset, data, False) for offset, data in writes]
    events.insert(min(synced, len(events)), Sync(1))
    disk = Disk(Recording({}, [File(ROOT, "f", 1, b"old")], events))
    times = [b"old"]
    for event in events:
        disk.take(event)
        times = [disk.latest()["f"] or b""] if isinstance(event, Sync) else [*times, disk.latest()["f"] or b""]
    choice = choices.make(disk, choices.DRAWN, seed)
    choice.lost = b""
    found = disk.image(choice)["f"] or b""
    assert len(found) in {len(one) for one in times}
    for at in range(0, len(found), SECTOR_BYTES):
        sector = found[at : at + SECTOR_BYTES]
        assert sector in {one[at : at + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0")[: len(sector)] for one in times}


def test_drawn_images_differ() -> None:
    disk = after(Write(1, 0, Random(1).randbytes(40 * SECTOR_BYTES), False), before=[File(ROOT, "f", 1, b"")])
    assert len({image["f"] for image in drawn(disk, 100)}) > 25
