"""Runs of many cuts: batches in processes of their own, real servers asked, and cases that can be looked at again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from zkstore.testing.powercut import asking, loads, opening, run, served
from zkstore.testing.powercut.campaign import Campaign, Plan, image_of
from zkstore.testing.powercut.events import Mark, Recording
from zkstore.testing.powercut.run import Batch

FROM_ANSWERS = [(5, 16, 0, 20), (0, 16, 30, 0), (-2, 16, 40, 0), (7, 20, 50, 0)]


def batch(tmp_path: Path, load: str, images: int = 40, servers: int = 0) -> Batch:
    return Batch(load, 0, images, servers, str(tmp_path / "scratch"), str(tmp_path / "output"))


def test_a_batch_cuts_its_load_and_starts_on_its_images(tmp_path: Path) -> None:
    outcome = run.run(batch(tmp_path, "agreement"))
    assert outcome.findings == [] and outcome.cases == []
    assert outcome.recordings > 3
    assert outcome.tally.images > 60


def test_batches_take_turns_with_loads_and_seeds(tmp_path: Path) -> None:
    work = run.batches(("a", "b"), 5, 10, 1, tmp_path, tmp_path)
    taken = [next(work) for _ in range(4)]
    assert [(one.load, one.seed) for one in taken] == [("a", 5), ("b", 5), ("a", 6), ("b", 6)]
    assert len({one.scratch for one in taken}) == 4


def test_a_real_server_on_an_image_has_what_was_appended(tmp_path: Path) -> None:
    recording = loads.record("first start", 0, tmp_path / "recorded")
    plan = Plan(len(recording.events), "nothing", 0)
    opening.lay_out(image_of(recording, plan), tmp_path / "image")
    store = opening.open_store(tmp_path / "image", recording.about)
    tree = store.recover().tree
    store.close()
    assert asking.ask(tmp_path / "image", recording.about, tree) is None
    tree.records[b"/missing"] = tree.records[b"/"]
    assert asking.ask(tmp_path / "image", recording.about, tree) is not None


def test_a_server_that_does_not_start_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "format").write_bytes(b"nonsense")
    complaint = asking.ask(tmp_path, {}, loads.Writer(loads.Random(0)).tree)
    assert "did not come to serve" in str(complaint)


def test_what_is_wrong_is_kept_and_can_be_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Campaign, "run", lambda self, images: iter([run.Finding(Plan(9, "all", 0), "made up")]))
    outcome = run.run(batch(tmp_path, "first start"))
    assert all("made up" in finding for finding in outcome.findings)
    case = Path(outcome.cases[0])
    assert (case / "finding.txt").read_text().endswith("made up\n")
    assert (case / "image" / "data").is_dir()
    said: list[str] = []
    assert run.replay(case, tmp_path / "again", said.append) is None
    assert any("the cut is before" in line for line in said)


def test_a_process_that_dies_leaves_its_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = batch(tmp_path, "first start")
    recording = loads.record("first start", 0, tmp_path / "recorded")
    Path(work.scratch).mkdir()
    recording.save(Path(work.scratch) / "recording")
    (Path(work.scratch) / "plan.json").write_text(json.dumps(Plan(9, "all", 0)))
    outcome = run._died(work, -signal.SIGBUS)
    assert outcome.findings == ["first start, seed 0: the process died with SIGBUS"]
    assert run.replay(Path(outcome.cases[0]), tmp_path / "again", lambda line: None) is None
    (Path(work.scratch) / "plan.json").unlink()
    assert "before the first cut" in run._died(work, 3).findings[0]


def test_the_plan_is_on_record_before_an_image_is_started(tmp_path: Path) -> None:
    recording = loads.record("first start", 0, tmp_path / "recorded")
    noted: list[Plan] = []
    campaign = Campaign(recording, tmp_path / "image", about_to=noted.append)
    assert list(campaign.run(10)) == []
    assert len(noted) == 10


# --- real servers that are recorded -------------------------------------------------------------------------------


def test_the_newest_zxid_in_the_answers_is_what_clients_were_told() -> None:
    frames = b"".join(
        length.to_bytes(4, "big")
        + xid.to_bytes(4, "big", signed=True)
        + zxid.to_bytes(8, "big")
        + bytes(4)
        + bytes(length - 16)
        for xid, length, zxid, _ in FROM_ANSWERS
    )
    assert served._told(3, frames) == Mark("told", 50)
    assert served._told(3, frames[:20]) is None
    assert served._told(3, b"imok") is None


def test_a_server_under_clients_survives_power_cuts(tmp_path: Path) -> None:
    [recording] = served.record("server", 0, tmp_path / "recorded")
    kinds = {event.kind for event in recording.events if isinstance(event, Mark)}
    assert {"append", "done", "told", "taken"} <= kinds
    campaign = Campaign(recording, tmp_path / "image")
    assert list(campaign.run(60)) == []


@pytest.mark.long
def test_a_learner_survives_power_cuts(tmp_path: Path) -> None:
    kinds: set[str] = set()
    for recording in served.record("learner", 0, tmp_path / "recorded"):
        kinds |= {event.kind for event in recording.events if isinstance(event, Mark)}
        assert list(Campaign(recording, tmp_path / "image").run(2_000)) == []
    assert {"install", "promise", "promised", "told", "begin"} <= kinds


def test_a_recording_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(os.urandom(50))
    with pytest.raises((ValueError, TypeError)):
        Recording.load(tmp_path / "recording")
