"""Checkers that find nothing prove nothing: bugs put into the real server, each of which some run must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.testing.mini_world import ALLOWANCES, MiniWorld, play
from zkstore.model.sessions import SessionTracker
from zkstore.model.tree import Tree
from zkstore.model.watches import Watches
from zkstore.replica import reads
from zkstore.replica.conversation import Conversation
from zkstore.replica.outstanding import Outstanding
from zkstore.testing.checkers.check import check
from zkstore.testing.checkers.history import History
from zkstore.wire.opcodes import Opcode
from zkstore.wire.segment import Segment

SEEDS_MAX = 10

Patch = pytest.MonkeyPatch


def _an_acknowledgement_before_the_disk(patch: Patch) -> None:
    def settle(self: MiniWorld, once: Callable[[MiniWorld], None] = MiniWorld.settle) -> None:
        once(self)
        replica = self.replica
        if self._writing and replica.has_outstanding:
            replica.commit_to(replica.role.proposed_zxid)
            self.guests.flush()

    def written(self: MiniWorld, replica: Any, segment: Segment) -> None:
        if replica is self.replica:
            self._writing = False
            self.segments.append(segment)
            self.history.applied(1, segment, self.agenda.now_us)
            self.settle()

    patch.setattr(MiniWorld, "settle", settle)
    patch.setattr(MiniWorld, "_written", written)


def _an_event_lost(patch: Patch) -> None:
    changed = Watches.changed

    def forgetful(self: Watches[Any], path: bytes) -> Any:
        return changed(self, path)[1:]

    patch.setattr(Watches, "changed", forgetful)


def _a_watch_that_fires_twice(patch: Patch) -> None:
    def changed(self: Watches[Any], path: bytes) -> Any:
        events = original(self, path)
        for event in events:
            for watcher in event.watchers:
                self.watch_data(path, watcher)
        return events

    original = Watches.changed
    patch.setattr(Watches, "changed", changed)


def _events_behind_the_answers(patch: Patch) -> None:
    held: list[tuple[Conversation, Any]] = []

    def tell(self: Conversation, *event: Any) -> None:
        held.append((self, event))

    def settle(self: MiniWorld, once: Callable[[MiniWorld], None] = MiniWorld.settle) -> None:
        for conversation, event in held:
            original(conversation, *event)
        held.clear()
        once(self)

    original = Conversation.tell
    patch.setattr(Conversation, "tell", tell)
    patch.setattr(MiniWorld, "settle", settle)


def _set_watches_that_tells_nothing(patch: Patch) -> None:
    patch.setitem(reads.READS, Opcode.SET_WATCHES2, lambda replica, conversation, body: b"")


def _an_impatient_leader(patch: Patch) -> None:
    touch = SessionTracker.touch
    patch.setattr(SessionTracker, "touch", lambda self, session_id, *_: touch(self, session_id, 0))


def _sessions_that_never_end(patch: Patch) -> None:
    patch.setattr(SessionTracker, "expired", lambda self, now_ms, at_most: [])


def _an_ephemeral_under_way_forgotten(patch: Patch) -> None:
    def ephemerals(self: Outstanding, session_id: int) -> list[bytes]:
        return original(self, session_id)[:-1]

    original = Outstanding.ephemerals
    patch.setattr(Outstanding, "ephemerals", ephemerals)
    patch.setattr("zkstore.model.apply.close_session", lambda tree, zxid, txn: tree.close_session(txn.session_id))


def _sequence_numbers_from_the_count_of_children(patch: Patch) -> None:
    look = Outstanding.look

    def forgetful(self: Outstanding, path: bytes) -> Any:
        found = look(self, path)
        return None if found is None else found._replace(created=found.num_children)

    patch.setattr(Outstanding, "look", forgetful)


def _a_multi_that_checks_nothing(patch: Patch) -> None:
    patch.setattr("zkstore.replica.prepare.Preparation.check", lambda *_: None)


def _permissions_that_nobody_checks(patch: Patch) -> None:
    patch.setattr("zkstore.replica.prepare.Preparation._demand", lambda *_: None)


def _a_read_at_the_wrong_zxid(patch: Patch) -> None:
    patch.setattr(Conversation, "answer", _answer_one_late(Conversation.answer))


def _answer_one_late(original: Any) -> Any:
    def answer(self: Conversation, xid: int, zxid: int, code: int, body: bytes) -> None:
        original(self, xid, max(zxid - 1, 0) if xid > 0 else zxid, code, body)

    return answer


def _a_digest_that_forgets_deletions(patch: Patch) -> None:
    sound: list[Tree] = []

    def remove(self: Tree, path: bytes, parent: bytes) -> None:
        original(self, path, parent)
        if not any(self is tree for tree in sound):
            self.touched.pop(path, None)

    def note(self: History, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        sound.append(self.base)

    original, begin = Tree.remove, History.__init__
    patch.setattr(Tree, "remove", remove)
    patch.setattr(History, "__init__", note)


@pytest.mark.parametrize(
    ("put_in", "rules"),
    [
        (_an_acknowledgement_before_the_disk, {"survival"}),
        (_an_event_lost, {"watch events"}),
        (_a_watch_that_fires_twice, {"watch events"}),
        (_events_behind_the_answers, {"watch events"}),
        (_set_watches_that_tells_nothing, {"restored watches"}),
        (_an_impatient_leader, {"expiry not early"}),
        (_sessions_that_never_end, {"expiry at last"}),
        (_an_ephemeral_under_way_forgotten, {"ephemerals"}),
        (_sequence_numbers_from_the_count_of_children, {"writes"}),
        (_a_multi_that_checks_nothing, {"multi"}),
        (_permissions_that_nobody_checks, {"writes"}),
        (_a_read_at_the_wrong_zxid, {"reads"}),
        (_a_digest_that_forgets_deletions, {"digests"}),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_bug_in_the_server_is_found(
    put_in: Callable[[Patch], None], rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch)
    for seed in range(SEEDS_MAX):
        world = play(seed, for_s=15, clients=8, faults=32, think_us=40_000)
        broken = {violation.rule for violation in check(world.history, ALLOWANCES).violations}
        if broken & rules:
            return
    raise AssertionError(f"{SEEDS_MAX} runs did not find it")
