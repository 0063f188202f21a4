"""What a changed configuration does to one server's doors."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from zkstore.errors import ConfigError
from zkstore.net.listeners import Listener
from zkstore.net.peer_links import PeerLinks
from zkstore.server import boot
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.server.roster import Roster
from zkstore.zab.membership import Membership, parse
from zkstore.zab.peer import Peer

OLD = parse("server.1=h1:2888:3888;2181\nserver.2=h2:2888:3888;2181")


class Links:
    """What is asked of the links."""

    def __init__(self) -> None:
        self.greeting = SimpleNamespace(ensemble_id=b"", addresses=())
        self.members: dict[int, Any] = {}
        self.listeners: list[Listener] = []

    def set_members(self, members: dict[int, Any]) -> None:
        self.members = members

    def listen_on(self, listeners: list[Listener]) -> None:
        self.listeners = listeners


def make(config: Membership = OLD, pending: Membership | None = None, **facts: Any) -> tuple[Roster, Any, Links]:
    peer = SimpleNamespace(
        config=config,
        pending_config=pending,
        **{"ensemble_id": None, "adopted_epoch": 0, "has_lost_data": False, **facts},
    )
    links = Links()
    roster = Roster(cast(Peer, peer), cast(PeerLinks, links), EnsembleConfig(1, OLD, init_limit=10, sync_limit=5))
    roster.follow()
    return roster, peer, links


def test_members_of_now_and_of_a_change_under_way_are_dialled() -> None:
    pending = parse("server.1=h1:2888:3888;2181\nserver.3=h3:2888:3888;2181")
    _, _, links = make(pending=pending)
    assert links.members == {1: [("h1", 2888)], 2: [("h2", 2888)], 3: [("h3", 2888)]}
    assert links.greeting.addresses == (("h1", 2888),)


@pytest.mark.parametrize(
    ("facts", "said"), [({}, b""), ({"adopted_epoch": 1}, b"e" * 16), ({"has_lost_data": True}, b"e" * 16)]
)
def test_an_id_that_no_epoch_was_adopted_with_keeps_nobody_out(facts: dict[str, Any], said: bytes) -> None:
    _, _, links = make(ensemble_id=b"e" * 16, **facts)
    assert links.greeting.ensemble_id == said


def test_a_server_that_was_removed_says_what_becomes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    roster, peer, _ = make()
    peer.config = parse("server.2=h2:2888:3888;2181")
    roster.follow()
    roster.follow()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no member of the ensemble any more" in caplog.text


def test_a_peer_port_that_moves_is_listened_at(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listeners: list[Listener] = []
    monkeypatch.setattr(boot, "open_peer_port", lambda config, me: listeners)
    roster, peer, links = make()
    peer.config = parse("server.1=h1:2999:3888;2181\nserver.2=h2:2888:3888;2181")
    roster.follow()
    assert links.listeners is listeners and links.greeting.addresses == (("h1", 2999),)
    assert "listens for other servers at h1:2999:3888 now" in caplog.text


def test_a_port_that_cannot_be_moved_to_wants_a_restart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(config: EnsembleConfig, me: object) -> list[Listener]:
        raise ConfigError("cannot listen there")

    monkeypatch.setattr(boot, "open_peer_port", refuse)
    roster, peer, links = make()
    peer.config = parse("server.1=h1:2999:3888;2182\nserver.2=h2:2888:3888;2181")
    roster.follow()
    assert links.listeners == []
    assert "is to be restarted to listen there. cannot listen there" in caplog.text
    assert "client port has moved from 0.0.0.0:2181 to 0.0.0.0:2182: restart it" in caplog.text
