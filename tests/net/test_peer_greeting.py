"""Whose answer is taken, and what is said about all others."""

from __future__ import annotations

import pytest

from zkstore.errors import ProtocolError
from zkstore.net.peer_frames import Answer, encode_answer
from zkstore.net.peer_greeting import Greeting
from zkstore.wire.messages import VERSION


def _greeting(*members: int) -> Greeting:
    return Greeting(1, lambda server_id: server_id in members)


def _answer(sender: int, refusal: str = "", ensemble_id: bytes = b"") -> bytes:
    return encode_answer(Answer(VERSION, sender, ensemble_id, refusal))


def test_the_answer_of_who_was_wanted_is_taken() -> None:
    _greeting(2).check(_answer(2), 2)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (_answer(3), r"^server 3 answers there; correct the line server\.2, or its myid$"),
        (_answer(2, "go away\n"), r"^it refuses: 'go away\\n'$"),
        (_answer(2, ensemble_id=bytes(16)), r"^server 2 is of ensemble 0{32}, this one of 65"),
    ],
)
def test_any_other_answer_is_complained_about(answer: bytes, complaint: str) -> None:
    greeting = _greeting(2, 3)
    greeting.ensemble_id = b"e" * 16
    with pytest.raises(ProtocolError, match=complaint):
        greeting.check(answer, 2)


def test_who_was_a_member_when_it_was_dialled_may_be_none_when_it_answers() -> None:
    with pytest.raises(ProtocolError, match=r"^server 2 is not a member of this ensemble$"):
        _greeting().check(_answer(2), 2)
