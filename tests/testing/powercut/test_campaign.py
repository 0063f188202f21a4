"""Power cuts of every load: nothing that was promised is lost, and nothing comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkstore.testing.powercut import damaged, loads
from zkstore.testing.powercut.campaign import Campaign, Plan, image_of, moments
from zkstore.testing.powercut.events import Mark, Recording

IMAGES = 60
IMAGES_LONG = 4_000
SEEDS_LONG = 3


def wrong(recording: Recording, scratch: Path, images: int, seed: int = 0) -> list[str]:
    """What is wrong behind so many cuts."""
    campaign = Campaign(recording, scratch, seed=seed)
    found = [f"{finding.plan}: {finding.message}" for finding in campaign.run(images)]
    assert campaign.tally.images > 20
    assert campaign.tally.judged >= campaign.tally.images
    return found


@pytest.mark.parametrize("load", loads.LOADS)
def test_a_load_survives_power_cuts(load: str, tmp_path: Path) -> None:
    recording = loads.record(load, 0, tmp_path / "recorded")
    assert wrong(recording, tmp_path / "image", IMAGES) == []


@pytest.mark.parametrize("kind", ["nothing", "drawn"])
@pytest.mark.parametrize("load", ["appends", "checkpoints", "installs"])
def test_a_start_after_a_power_cut_survives_another_one(load: str, kind: str, tmp_path: Path) -> None:
    recording = loads.record(load, 1, tmp_path / "recorded")
    promised = [number for number, event in enumerate(recording.events) if isinstance(event, Mark)]
    plan = Plan(promised[len(promised) // 2] + 1, kind, 5)
    recovery = loads.record_recovery(recording, plan, tmp_path / "recorded")
    assert wrong(recovery, tmp_path / "image", IMAGES) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_a_damaged_member_that_begins_anew_knows_that_it_lost_something(seed: int, tmp_path: Path) -> None:
    recording = damaged.record(seed, tmp_path / "recorded")
    assert wrong(recording, tmp_path / "image", IMAGES, seed) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS_LONG))
@pytest.mark.parametrize("load", loads.LOADS)
def test_a_load_survives_many_power_cuts(load: str, seed: int, tmp_path: Path) -> None:
    recording = loads.record(load, seed, tmp_path / "recorded")
    assert wrong(recording, tmp_path / "image", IMAGES_LONG, seed) == []
    for number in sorted(moments(recording.events))[:: max(1, len(recording.events) // 20)]:
        recovery = loads.record_recovery(recording, Plan(number, "drawn", seed), tmp_path / "recorded")
        assert wrong(recovery, tmp_path / "image", IMAGES_LONG // 20, seed) == []


def test_images_of_the_same_content_are_started_once(tmp_path: Path) -> None:
    recording = loads.record("first start", 0, tmp_path / "recorded")
    campaign = Campaign(recording, tmp_path / "image")
    assert list(campaign.run(120)) == []
    assert campaign.tally.images < campaign.tally.judged / 2


def test_a_plan_makes_the_same_image_again(tmp_path: Path) -> None:
    recording = loads.record("appends", 0, tmp_path / "recorded")
    recording.save(tmp_path / "saved")
    plan = Plan(sorted(moments(recording.events))[40], "drawn", 12)
    assert image_of(recording, plan) == image_of(Recording.load(tmp_path / "saved"), plan)


def test_checkpoints_are_spoilt_where_there_is_a_second_way_back(tmp_path: Path) -> None:
    campaign = Campaign(loads.record("checkpoints", 0, tmp_path / "recorded"), tmp_path / "image")
    assert list(campaign.run(250)) == []
    assert campaign.tally.second_ways > 0
