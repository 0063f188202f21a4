"""What must be found after a power cut: the oracle's judgement of finds that are right, too old, too new or mixed."""

from __future__ import annotations

from random import Random

from zkstore.testing.powercut.events import Event, Mark, Recording
from zkstore.testing.powercut.oracle import BEGINNING, Found, Oracle, content_of
from zkstore.testing.powercut.writer import Writer
from zkstore.wire.messages import ENROLLED, FRESH


class Story:
    """Marks, and what a disk holds that has everything."""

    def __init__(self) -> None:
        self.writer = Writer(Random(1))
        self.events: list[Event] = []
        self.ends = [BEGINNING]
        self.found = [Found(content=content_of(self.writer.tree))]

    def append(self, count: int, end: str = "done") -> None:
        segments = self.writer.group(count)
        self.events += [Mark("append", [segment.data for segment in segments]), Mark(end, "append")]
        self.ends += [(segment.last_zxid, segment.crc) for segment in segments]
        self.found.append(self.now())

    def now(self, **other: object) -> Found:
        tree = self.writer.tree
        found = Found(ends=tuple(self.ends[1:]), tree_zxid=tree.zxid, content=content_of(tree))
        return found._replace(**other)  # type: ignore[arg-type]

    def judge(self, found: Found, taken: int | None = None) -> str | None:
        oracle = Oracle(Recording({}, [], self.events))
        return oracle.judge(found, oracle.expectation(len(self.events) if taken is None else taken))


def test_an_empty_server_is_right_before_the_first_append() -> None:
    story = Story()
    assert story.judge(story.found[0]) is None


def test_an_append_may_be_there_from_its_beginning_and_must_be_from_its_end() -> None:
    story = Story()
    story.append(1)
    before, after = story.found
    assert story.judge(before, 1) is None and story.judge(after, 1) is None
    assert story.judge(after, 2) is None
    assert "was on disk up to" in str(story.judge(before, 2))
    assert "where no segment ever ended" in str(story.judge(after, 0))


def test_segments_under_way_may_be_there_up_to_any_of_them() -> None:
    story = Story()
    story.append(1)
    first = story.found[1]
    story.append(3)
    assert story.judge(first, 3) is None
    assert "was on disk up to" in str(story.judge(first, 4))


def test_a_refused_append_must_not_be_there() -> None:
    story = Story()
    story.append(1)
    story.append(2, "refused")
    before, after = story.found[1:]
    assert story.judge(before) is None
    assert "where no segment ever ended" in str(story.judge(after))
    assert story.judge(after, 3) is None


def test_what_was_cut_off_must_not_be_there() -> None:
    story = Story()
    story.append(1)
    story.append(1)
    before, after = story.found[1:]
    story.events += [Mark("cut", before.tree_zxid), Mark("done", "cut")]
    assert story.judge(before, 5) is None and story.judge(after, 5) is None
    assert story.judge(before) is None
    assert "where no segment ever ended" in str(story.judge(after))


def test_a_promise_is_there_from_its_end() -> None:
    story = Story()
    story.events += [Mark("promise", (3, 2, ENROLLED)), Mark("done", "promise")]
    old, new = story.now(), story.now(epochs=(3, 2, ENROLLED))
    assert story.judge(old, 1) is None and story.judge(new, 1) is None
    assert "they can only be (3, 2, 2)" in str(story.judge(old)).replace(f"{ENROLLED})", "2)")
    assert story.judge(new) is None
    assert "they can only be" in str(story.judge(story.now(epochs=(4, 2, FRESH))))


def test_what_others_were_told_must_be_there_even_before_the_disk_said_so() -> None:
    story = Story()
    story.append(1)
    before, after = story.found
    story.events.insert(1, Mark("told", after.tree_zxid))
    assert "others were told of" in str(story.judge(before, 2))
    assert story.judge(after, 2) is None
    story.events.insert(1, Mark("promised", 5))
    assert "was promised to others" in str(story.judge(after, 2))


def test_an_installed_tree_is_there_whole_or_the_old_state_is() -> None:
    story, other = Story(), Story()
    story.append(1)
    old = story.found[1]
    other.append(1)
    other.append(4)
    tree, end = other.writer.tree, other.ends[-1]
    rows, sessions = list(tree.records.items()), [(number, *one) for number, one in tree.sessions.items()]
    story.events += [Mark("install", (tree.zxid, tree.digest, end[1], rows, sessions)), Mark("done", "install")]
    new = Found(start=end, tree_zxid=tree.zxid, content=content_of(tree))
    assert story.judge(old, 3) is None and story.judge(new, 3) is None
    assert story.judge(new) is None
    assert story.judge(old) is not None
    assert story.judge(new._replace(content=0)) == f"the tree of {tree.zxid:#x} is not what its txns make"


def test_snapshots_that_were_taken_are_there_and_sound() -> None:
    story = Story()
    story.append(2)
    here = story.found[1]
    story.events.append(Mark("taken", here.tree_zxid))
    assert "is gone" in str(story.judge(here))
    assert story.judge(here._replace(snapshots=((here.tree_zxid, here.content),))) is None
    assert "is not sound" in str(story.judge(here._replace(snapshots=((here.tree_zxid, None),))))
    assert "not what its txns make" in str(story.judge(here._replace(snapshots=((here.tree_zxid, 1),))))
    both = ((here.tree_zxid, here.content), (here.tree_zxid + 1, 1))
    assert "is of no end of a segment" in str(story.judge(here._replace(snapshots=both)))
    story.events.append(Mark("remove", here.tree_zxid))
    assert story.judge(here) is None


def test_a_hole_in_the_log_and_another_tree_are_seen() -> None:
    story = Story()
    story.append(3)
    here = story.found[1]
    assert "are not those that were appended" in str(story.judge(here._replace(ends=(here.ends[0], here.ends[2]))))
    assert "is not what its txns make" in str(story.judge(here._replace(content=1)))
    assert "where no segment ends" in str(story.judge(here._replace(tree_zxid=99)))
    assert story.judge(Found("no")) == "the server does not start: no"
