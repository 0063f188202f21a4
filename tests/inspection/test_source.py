"""Sources: what is known at once, txns, moments, and what is no source at all."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import msgpack
import pytest

from tests.inspection.directories import EPOCH, OTHER_SESSION, START_MS, Made, make
from tests.storage.histories import History, create, rewrite_segment
from tests.storage.power import content, cut, without_meta
from zkstore.errors import FormatTooNewError, StorageError
from zkstore.inspection.facts import Reach
from zkstore.inspection.source import open_source
from zkstore.storage.image import Mark
from zkstore.storage.store import Store
from zkstore.wire import segment as segments_


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("source") / "data")


def files(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_the_facts_of_a_directory(made: Made) -> None:
    with open_source(made.root) as source:
        facts = source.facts
        assert facts.kind == "data directory"
        assert facts.troubles == []
        assert (facts.start.zxid, facts.end.zxid) == (0, made.end)
        assert facts.reach == [Reach(0, made.end)]
        assert facts.segments == len(made.history.segments)
        assert facts.checkpoint is not None
        assert facts.checkpoint.znodes == len(made.states[facts.checkpoint.zxid])
        assert [snapshot.zxid for snapshot in facts.snapshots] == sorted(snapshot.zxid for snapshot in facts.snapshots)
        assert facts.clean is not None
        assert facts.clean.zxid == made.end
        assert facts.holder == ""
        assert facts.first_time_ms == START_MS
        assert facts.formats == {"directory": 1, "log": 1, "segment": 1, "image": 1}
        assert 0 < facts.log_used_bytes <= facts.log_file_bytes < facts.total_bytes


def test_looking_changes_nothing_and_needs_no_right_to_write(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    before = files(made.root)
    for path in [made.root, *made.root.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        with open_source(made.root) as source:
            assert dict(source.view().znodes()) == made.states[made.end]
            assert list(source.txns())
    finally:
        for path in [made.root, *made.root.rglob("*")]:
            path.chmod(0o700)
    assert files(made.root) == before


def test_a_directory_in_use_is_shown_and_its_holder_named(tmp_path: Path) -> None:
    make(tmp_path / "data")
    store = Store.open(tmp_path / "data")
    recovered = store.recover()
    with open_source(tmp_path / "data") as source:
        assert "pid" in source.facts.holder
        assert dict(source.view().znodes()) == recovered.tree.records
    store.close()


def test_txns_come_with_their_zxids_from_and_to_any_place(made: Made) -> None:
    expected = [
        (zxid, txn)
        for segment in made.history.segments
        for zxid, txn in enumerate(segments_.txns(segment), segment.first_zxid)
    ]
    with open_source(made.root) as source:
        assert list(source.txns()) == expected
        for after in (0, EPOCH + 1, EPOCH + 6, EPOCH + 20, 2 * EPOCH, 2 * EPOCH + 3, made.end):
            up_to = after + 30
            assert list(source.txns(after, up_to)) == [row for row in expected if after < row[0] <= up_to]
        wanted = msgpack.packb(OTHER_SESSION)
        found = list(source.txns(containing=wanted))
        assert [row for row in expected if row[1].session_id == OTHER_SESSION] == [
            row for row in found if row[1].session_id == OTHER_SESSION
        ]
        assert list(source.txns(containing=b"/such/a/path/is/nowhere")) == []


def test_moments_lead_to_zxids(made: Made) -> None:
    with open_source(made.root) as source:
        assert source.resolve("0x100000002") == EPOCH + 2
        assert source.resolve("7") == 7
        for segment in made.history.segments:
            time_ms = segments_.txns(segment)[0].time_ms
            assert source.zxid_at(time_ms) == segment.last_zxid
            assert source.zxid_at(time_ms + 999) == segment.last_zxid
            assert source.time_ms_at(segment.first_zxid) == time_ms
        assert source.resolve("2023-11-14T22:13:20Z") == made.history.segments[0].last_zxid
        assert source.resolve("now") == made.end
        assert source.zxid_at(START_MS - 1) is None
        with pytest.raises(StorageError, match="lies before history: history reaches over 0x0 to"):
            source.resolve("2001-01-01")
        with pytest.raises(StorageError, match="is no moment"):
            source.resolve("some day")
        assert source.time_ms_at(made.end + 1) is None
        assert source.time_ms_at(2 * EPOCH - 1) is None


def test_a_snapshot_stands_for_itself(made: Made) -> None:
    path = sorted((made.root / "snapshots").iterdir())[0]
    zxid = int(path.name, 16)
    for place in (path, path / "data.mdb"):
        with open_source(place) as source:
            assert source.facts.kind == "snapshot"
            assert source.facts.reach == [Reach(zxid, zxid)]
            assert dict(source.view().znodes()) == made.states[zxid]
            assert list(source.txns()) == []
            with pytest.raises(StorageError, match="no log here"):
                source.resolve("1h ago")


def test_a_log_elsewhere_is_found_where_it_is_named(tmp_path: Path, made: Made) -> None:
    shutil.copytree(made.root, tmp_path / "data")
    (tmp_path / "logs").mkdir()
    (tmp_path / "data" / "log").rename(tmp_path / "logs" / "log")
    with open_source(tmp_path / "data", log_directory=tmp_path / "logs") as source:
        assert dict(source.view().znodes()) == made.states[made.end]
    with open_source(tmp_path / "data") as source:
        assert "--log-directory" in source.facts.troubles[0]
        assert dict(source.view().znodes()) == made.states[source.view().zxid]


def test_a_log_of_another_directory_is_told(tmp_path: Path, made: Made) -> None:
    shutil.copytree(made.root, tmp_path / "data")
    make(tmp_path / "other")
    shutil.rmtree(tmp_path / "data" / "log")
    shutil.copytree(tmp_path / "other" / "log", tmp_path / "data" / "log")
    with open_source(tmp_path / "data") as source:
        assert any("belongs to another data directory" in trouble for trouble in source.facts.troubles)


def test_a_segment_that_awaits_salvage_is_shown_in_its_place(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.append(history.fill(3))
    log = tmp_path / "log"
    before = content(log)
    store.append(history.fill(1))
    lost = cut(log, without_meta(before, content(log)))
    store.close()
    shutil.rmtree(log)
    lost.rename(log)
    with open_source(tmp_path) as source:
        assert source.facts.awaiting == 1
        assert source.facts.end.zxid == history.tree.zxid
        assert dict(source.view().znodes()) == history.tree.records
        assert [zxid for zxid, _ in source.txns()][-1] == history.tree.zxid


def test_a_tree_from_elsewhere_has_no_past_in_the_log(tmp_path: Path) -> None:
    other = History()
    other.fill(5)
    store = Store.open(tmp_path)
    store.append(History().fill(3))
    incoming = store.begin_incoming()
    incoming.put(list(other.tree.records.items()))
    mark = Mark(other.tree.zxid, other.tree.digest, other.segments[-1].crc, restarts_log=True)
    incoming.finish(mark, other.tree.sessions)
    store.checkpoint.replace_by(incoming.path)  # and the power goes before the log is restarted
    store.close()
    with open_source(tmp_path) as source:
        assert "came from elsewhere" in source.facts.troubles[0]
        assert source.facts.reach == [Reach(mark.zxid, mark.zxid)]
        assert dict(source.view().znodes()) == other.tree.records


def test_a_purged_log_reaches_back_to_the_oldest_image_and_older_images_stand_alone(tmp_path: Path) -> None:
    made = make(tmp_path / "data", purges=True)
    store = Store.open(made.root)
    first, second = (snapshot.zxid for snapshot in store.snapshots.all())
    store.log.drop_before(second, at_most=100)
    store.close()
    with open_source(made.root) as source:
        assert source.facts.reach == [Reach(first, first), Reach(second, made.end)]
        assert dict(source.view(first).znodes()) == made.states[first]
        with pytest.raises(StorageError, match="cannot be seen any more"):
            source.view(first + 1)


def test_a_damaged_segment_is_passed_over_and_told(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    rewrite_segment(made.root / "log", 5, b"nothing of use")
    with open_source(made.root) as source:
        found = [zxid for zxid, _ in source.txns()]
        lost = made.history.segments[5]
        assert set(range(lost.first_zxid, lost.last_zxid + 1)).isdisjoint(found)
        assert found[-1] == made.end
        assert len(source.damage) == 1
        assert source.damage[0].zxid == lost.first_zxid
    rewrite_segment(made.root / "log", 5, None)
    with open_source(made.root) as source:
        list(source.txns())
        assert "segments are missing between" in str(source.damage[0])


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    text = (made.root / "format").read_text()
    (made.root / "format").write_text(text.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(FormatTooNewError, match="newer zkstore"):
        open_source(made.root)


def test_what_is_no_source_is_named(tmp_path: Path, made: Made) -> None:
    places: dict[str, str] = {
        "nowhere": "no such file or directory",
        "empty": "this directory is empty",
        "foreign": "it holds notes.txt",
        "apache": "an Apache ZooKeeper server",
        "apache/version-2": "snapshots and logs of an Apache",
        "apache/version-2/snapshot.0": "a snapshot of an Apache",
        "archive": "a gzip archive",
        "foreign/notes.txt": "a text file",
        "nothing": "this file is empty",
        "begun": "only began to make a data directory here",
        "noise": "a file of another program",
    }
    for name in ("empty", "foreign", "apache/version-2", "begun/log"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "foreign/notes.txt").write_text("hello")
    (tmp_path / "apache/version-2/snapshot.0").write_bytes(b"ZKSN\0\0\0\2")
    (tmp_path / "archive").write_bytes(gzip.compress(b"x"))
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "begun" / "lock").write_bytes(b"")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    for name, words in places.items():
        with pytest.raises(StorageError, match=words):
            open_source(tmp_path / name)
    with pytest.raises(StorageError, match=r"the log of a data directory.*Name the directory itself"):
        open_source(made.root / "log")
    with pytest.raises(StorageError, match="the snapshots of a data directory"):
        open_source(made.root / "snapshots")
    with open_source(made.root / "format") as source:
        assert source.facts.end.zxid == made.end


def test_a_new_directory_holds_the_four_reserved_znodes(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.recover()
    store.close()
    with open_source(tmp_path) as source:
        assert len(dict(source.view().znodes())) == 4
        assert list(source.txns()) == []
        with pytest.raises(StorageError):
            source.resolve("1h ago")


def test_a_directory_of_which_nothing_can_be_read_says_so(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    for path in made.root.rglob("data.mdb"):
        path.write_bytes(b"")
    with pytest.raises(StorageError, match=r"nothing in this data directory can be read.*the file is empty"):
        open_source(made.root)


def test_an_image_of_an_older_zkstore_without_counts_is_read(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.append([history.add(create(b"/a"))])
    history.checkpoint(store)  # which tells no counts
    store.close()
    with open_source(tmp_path) as source:
        view = source.view()
        assert view.counts is None
        assert view.count().znodes == 5
        assert source.facts.checkpoint is not None
        assert (source.facts.checkpoint.znodes, source.facts.checkpoint.data_bytes) == (5, None)


def test_what_an_ensemble_may_yet_give_up_is_known(tmp_path: Path) -> None:
    history, store = History(), Store.open(tmp_path)
    store.recover()
    store.log.set_ensemble_id(bytes(range(16)))
    store.append(history.fill(3))
    store.close()
    with open_source(tmp_path) as source:
        assert source.facts.ensemble_id == bytes(range(16)).hex()
        assert source.facts.committed_zxid == history.segments[-1].digest_zxid == source.facts.end.zxid - 1
