"""Sessions that one server alone knows: what the checkers allow them, and what not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkstore.model.acl import OPEN_ACL
from zkstore.model.txns import CREATE, CREATE_SESSION, ERROR, CreateSessionTxn, CreateTxn, ErrorTxn, Txn
from zkstore.testing.checkers.check import Allowances, check
from zkstore.testing.checkers.history import History, Life
from zkstore.testing.checkers.verdict import Verdict
from zkstore.wire import jute, segment
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import CreateRequest

TIMEOUT_US = 4_000_000
HOME, OTHER = 1, 2
SESSION, PASSWORD = 77, bytes(16)


class Story:
    """One client with a local session at server 1, and what becomes of it."""

    def __init__(self, *, upgrades: bool = True) -> None:
        self.history = History(report_us=1_000_000, local_sessions=True, upgrades=upgrades)
        self.history.serves(HOME, 0)
        self.now_us = 10_000_000
        self._crc = self._zxid = 0
        self.history.session_asked()
        self.welcome(HOME)

    @property
    def life(self) -> Life:
        return self.history.lives[SESSION]

    def welcome(self, server_id: int) -> None:
        self.channel = self.history.welcomed(SESSION, TIMEOUT_US, PASSWORD, server_id, self.now_us, self.now_us)

    def commit(self, txn: Txn) -> int:
        self._zxid += 1
        made = segment.encode(
            [txn], prev_zxid=self._zxid - 1, first_zxid=self._zxid, digest_zxid=0, digest=0, prev_crc=self._crc
        )
        self._crc = made.crc
        self.now_us += 1_000
        self.history.applied(HOME, made, self.now_us)
        return self._zxid

    def create(self, path: bytes, *, flags: int = 0, code: int = 0) -> None:
        """A create that is asked, applied and answered."""
        xid = len(self.channel.calls) + 1
        asked = CreateRequest(path, b"", OPEN_ACL, flags)
        call = self.history.called(self.channel, xid, Opcode.CREATE, asked, self.now_us)
        if code:
            zxid = self.commit(ErrorTxn(ERROR, SESSION, xid, 0, code))
        else:
            zxid = self.commit(CreateTxn(CREATE, SESSION, xid, 0, path, b"", None, SESSION if flags else 0))
        self.history.answered(call, zxid, code, b"" if code else jute.buffer(path), self.now_us)

    def close(self) -> None:
        """As the server answers it that alone knows the session."""
        call = self.history.called(self.channel, len(self.channel.calls) + 1, Opcode.CLOSE_SESSION, None, self.now_us)
        self.history.answered(call, self._zxid, 0, b"", self.now_us)

    def upgrade(self) -> None:
        self.commit(CreateSessionTxn(CREATE_SESSION, SESSION, 0, 0, TIMEOUT_US // 1000, PASSWORD))

    def refuse(self, server_id: int, after_us: int) -> None:
        self.now_us += after_us
        self.history.refused(SESSION, self.now_us, server_id)

    def verdict(self) -> Verdict:
        self.history.ended(self.now_us + 1_000)
        return check(self.history, Allowances(tick_us=1_000_000))


def broken(story: Story) -> set[str]:
    return {violation.rule for violation in story.verdict().violations}


def _writes(story: Story) -> None:
    story.create(b"/a")
    story.create(b"/b")
    story.close()


def _is_upgraded(story: Story) -> None:
    story.create(b"/a")
    story.upgrade()
    story.create(b"/e", flags=1)
    story.welcome(OTHER)


def _is_refused_elsewhere(story: Story) -> None:
    story.refuse(OTHER, 1_000)


def _is_refused_late(story: Story) -> None:
    story.refuse(HOME, TIMEOUT_US)


def _is_refused_after_a_restart(story: Story) -> None:
    story.history.forgot(HOME, story.now_us + 500)
    story.refuse(HOME, 1_000)


def _is_refused_in_the_middle_of_an_upgrade(story: Story) -> None:
    story.history.called(story.channel, 1, Opcode.CREATE, CreateRequest(b"/e", b"", OPEN_ACL, 1), story.now_us)
    story.refuse(HOME, 1_000)
    story.upgrade()


def _ends_in_time(story: Story) -> None:
    story.history.silenced(SESSION, story.now_us)
    story.history.left_local[HOME] = (SESSION,)
    story.now_us += TIMEOUT_US


@pytest.mark.parametrize(
    "happens",
    [
        _writes,
        _is_upgraded,
        _is_refused_elsewhere,
        _is_refused_late,
        _is_refused_after_a_restart,
        _is_refused_in_the_middle_of_an_upgrade,
        _ends_in_time,
    ],
)
def test_what_may_happen_to_a_local_session(happens: Callable[[Story], None]) -> None:
    story = Story()
    happens(story)
    assert broken(story) == set()


def _owns_before_it_is_known(story: Story) -> None:
    story.create(b"/e", flags=1)


def _is_refused_an_ephemeral(story: Story) -> None:
    story.create(b"/e", flags=1, code=-120)


def _is_given_back_elsewhere(story: Story) -> None:
    story.welcome(OTHER)


def _is_refused_at_home(story: Story) -> None:
    story.refuse(HOME, TIMEOUT_US // 2)


def _never_ends(story: Story) -> None:
    story.history.silenced(SESSION, story.now_us)
    story.history.left_local[HOME] = (SESSION,)
    story.now_us += TIMEOUT_US + 4_000_000


@pytest.mark.parametrize(
    ("happens", "rule"),
    [
        (_owns_before_it_is_known, "ephemerals"),
        (_is_refused_an_ephemeral, "ephemerals"),
        (_is_given_back_elsewhere, "sessions"),
        (_is_refused_at_home, "expiry not early"),
        (_never_ends, "expiry at last"),
    ],
)
def test_what_may_not_happen_to_a_local_session(happens: Callable[[Story], None], rule: str) -> None:
    story = Story()
    happens(story)
    assert rule in broken(story)


def test_an_ephemeral_is_refused_where_sessions_are_not_upgraded_and_only_there() -> None:
    story = Story(upgrades=False)
    story.create(b"/e", flags=1, code=-120)
    assert broken(story) == set()
    story = Story(upgrades=False)
    story.create(b"/e", code=-120)
    assert broken(story) == {"writes"}
