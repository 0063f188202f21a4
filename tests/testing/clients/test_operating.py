"""Changes of the members by clients: they come to pass, and the checkers see one that is not as it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.testing.story import Story, Teller
from zkstore.model.paths import CONFIG
from zkstore.model.record import image_end
from zkstore.model.txns import ERROR, RECONFIG, ErrorTxn, ReconfigTxn
from zkstore.testing.checkers.answers import NO_AUTH
from zkstore.testing.checkers.history import Call
from zkstore.testing.clients.operating import IDENTITY, regrouped, spec, unlike
from zkstore.testing.plans import plan as planning
from zkstore.testing.world.serving import ServingWorld
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ReconfigRequest
from zkstore.zab import membership as memberships
from zkstore.zab import reconfiguration
from zkstore.zab.membership import Membership

ADD_THREE = ReconfigRequest(f"server.3={spec(3, is_voter=False)}", None, None, -1)


def members(*roles: bool) -> Membership:
    return memberships.parse("\n".join(f"server.{n}={spec(n, is_voter=role)}" for n, role in enumerate(roles, 1)))


def test_an_operator_adds_observers_gives_them_a_vote_and_takes_members_out() -> None:
    planned = planning.make(4, 3)
    case = replace(
        planned,
        observers=(),
        spares=(4, 5),
        drifts_ppm=(0,) * 5,
        calm_ms=20_000,
        faults=(),
        is_grouped=False,
        weights=(),
        has_operator=True,
        think_us=30_000,
    )
    world = ServingWorld(case)
    world.run()
    assert world.verdict is not None
    assert [*world.observer.violations, *world.verdict.violations] == []
    assert world.verdict.seen["reconfig that succeeded"] > 5
    requests = [
        call.request
        for channel in world.history.channels
        for call in channel.calls
        if call.opcode == Opcode.RECONFIG and call.code == 0 and isinstance(call.request, ReconfigRequest)
    ]
    joined = [request.joining for request in requests if request.joining]
    promoted = [text for text in joined if "participant" in text and text.replace("participant", "observer") in joined]
    assert promoted and any(request.leaving for request in requests)


@pytest.mark.parametrize("seed", range(20))
def test_members_are_regrouped_in_ways_that_there_are(seed: int) -> None:
    before = members(True, True, False, True, True)
    wanted = regrouped(before, Random(seed))
    after = reconfiguration.replaced(wanted, version=7)
    assert after.by_id == before.by_id
    assert unlike(after, ReconfigRequest(None, None, wanted, -1)) == ""


def test_what_is_not_as_it_was_asked_for_is_named() -> None:
    three = members(True, True, True)
    assert unlike(three, ReconfigRequest(f"server.3={spec(3, is_voter=True)}", None, None, -1)) == ""
    assert unlike(three, ADD_THREE) == f"server.3={spec(3, is_voter=False)}"
    assert unlike(three, ReconfigRequest(None, "2,9", None, -1)) == "server.2"
    whole = ",".join(three.lines())
    assert unlike(three, ReconfigRequest(None, None, whole, -1)) == ""
    assert unlike(members(True, True), ReconfigRequest(None, None, whole, -1)) == f"server.3={spec(3, is_voter=True)}"


def reconfigured(story: Story, teller: Teller, wrong: str = "") -> None:
    """Server 3 is added; with `wrong`, something is wrong with that."""
    if wrong != "by anybody":
        teller.channel.identities = (*teller.channel.identities, IDENTITY)
    call: Call = teller.ask(Opcode.RECONFIG, ADD_THREE)
    if wrong == "denied":
        teller.answer(call, story.commit(ErrorTxn(ERROR, teller.session_id, call.xid, 0, NO_AUTH)), NO_AUTH)
        return
    made = members(True, True, wrong == "another role")
    version = story.tree.zxid + 1 - (wrong == "another version")
    data = replace(made, version=version).format().encode()
    zxid = story.commit(ReconfigTxn(RECONFIG, teller.session_id, call.xid, 0, data))
    record = story.tree.records[CONFIG]
    teller.answer(call, zxid, 0, record[: image_end(record)])


def rules_broken(tell: Callable[[Story, Teller], None]) -> set[str]:
    story = Story()
    tell(story, story.session())
    return {violation.rule for violation in story.verdict().violations}


def test_a_change_as_it_was_asked_for_breaks_no_rule() -> None:
    assert rules_broken(reconfigured) == set()


@pytest.mark.parametrize("wrong", ["by anybody", "denied", "another role", "another version"])
def test_a_change_that_should_not_be_so_is_seen(wrong: str) -> None:
    assert rules_broken(lambda story, teller: reconfigured(story, teller, wrong)) == {"writes"}
