"""Damage: what is tried, that a start and `verify` find it, and that the judge would see if they did not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from zkstore.storage import image, pages
from zkstore.storage.store import Store
from zkstore.testing.sweeping import damage as damaging
from zkstore.testing.sweeping.damage import CRASHED, HEALED, REFUSED, RIGHT, SAME, Damage, Sample, attempt, damages


@pytest.fixture(scope="module", params=[True, False], ids=["stopped", "killed"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("damage"), is_clean=request.param)


def test_an_undamaged_copy_is_what_was_written(sample: Sample, tmp_path: Path) -> None:
    found = attempt(sample, Damage("format", "none", sample.files["format"]), tmp_path / "tried")
    assert (found.outcome, found.text) == (SAME, "")


def test_every_file_is_spoilt_in_every_way(sample: Sample) -> None:
    kinds: dict[str, set[str]] = {}
    for damage in damages(sample, Random(0), flips=200):
        kinds.setdefault(damage.file, set()).add(damage.kind)
    assert set(kinds) == set(sample.files)
    whole = {"missing", "empty", "foreign", "random", "zeros", "truncated"}
    assert all(whole <= found for found in kinds.values())
    assert {"meta bit", "page's head", "unreadable page", "half a page", "older", "another's"} <= kinds["log/data.mdb"]
    assert {file for file in kinds if file.startswith("snapshots")}


def test_whatever_is_spoilt_a_start_finds_it_and_names_it(sample: Sample, tmp_path: Path) -> None:
    """Some of all damages, chosen anew whenever there is another number of them."""
    outcomes: Counter[str] = Counter()
    chosen = [damage for number, damage in enumerate(damages(sample, Random(1), flips=100)) if number % 2_000 == 0]
    for damage in [damage for damage in chosen if damage.kind not in ("missing", "empty")] + _whole(sample):
        found = attempt(sample, damage, tmp_path / "tried")
        assert found.outcome in RIGHT, (damage.file, damage.kind, found)
        outcomes[found.outcome] += 1
    assert set(outcomes) == set(RIGHT)


def _whole(sample: Sample) -> list[Damage]:
    return [Damage(file, "missing", None) for file in sample.files] + [
        Damage(file, "empty", b"") for file in sample.files
    ]


@pytest.mark.parametrize(
    ("file", "outcome", "text"),
    [
        ("log/data.mdb", REFUSED, "the log is not here"),
        ("log/generation", REFUSED, "the log's generation cannot be read"),
        ("tree/data.mdb", HEALED, "Recovered from the snapshot of"),
        ("format", REFUSED, "another data directory"),
    ],
)
def test_a_missing_file_is_told(sample: Sample, tmp_path: Path, file: str, outcome: str, text: str) -> None:
    found = attempt(sample, Damage(file, "missing", None), tmp_path / "tried")
    assert found.outcome == outcome
    assert text in found.text or outcome == HEALED


def test_a_page_that_would_end_the_process_counts_as_a_crash(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look at its pages LMDB takes the process with it."""
    monkeypatch.setattr(pages, "check", lambda file: None)
    outcomes = set()
    content = sample.files["tree/data.mdb"]
    for page in range(2, len(content) // damaging.PAGE_BYTES):
        zeros = Damage("tree/data.mdb", "page of zeros", bytes(damaging.PAGE_BYTES), page * damaging.PAGE_BYTES)
        outcomes.add(attempt(sample, zeros, tmp_path / "tried").outcome)
    assert CRASHED in outcomes


def test_another_tree_than_was_written_counts_as_wrong(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recover = Store.recover

    def forgetful(store: Store, *, committed_only: bool = False) -> object:
        recovered = recover(store, committed_only=committed_only)
        del recovered.tree.records[next(path for path in recovered.tree.records if path.startswith(b"/n"))]
        return recovered

    monkeypatch.setattr(Store, "recover", forgetful)
    found = attempt(sample, Damage("format", "none", sample.files["format"]), tmp_path / "tried")
    assert found.outcome == damaging.WRONG


def test_an_exception_without_a_sentence_counts_as_a_traceback(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "load", lambda env: 1 / 0)
    found = attempt(sample, Damage("format", "none", sample.files["format"]), tmp_path / "tried")
    assert found.outcome == damaging.TRACEBACK
    assert "ZeroDivisionError" in found.text
