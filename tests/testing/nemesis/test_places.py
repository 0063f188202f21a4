"""What can be had on a machine, and what is said of what cannot."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.testing.nemesis import places
from zkstore.testing.nemesis.case import Case
from zkstore.testing.nemesis.faults import KINDS, OF_SEVERAL, OF_THE_NETWORK
from zkstore.testing.nemesis.places import Places

NEEDING_NOTHING = {"kill", "crash-point", "pause", "restart", "clock"}


@pytest.fixture
def powerless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may do nothing to the system."""

    def refuse(*arguments: object) -> None:
        raise OSError("not permitted")

    for name in ("Namespaces", "SmallDisk", "PoweredDisk", "refuse_tracing"):
        monkeypatch.setattr(places, name, refuse)


@pytest.mark.usefixtures("powerless")
def test_who_may_do_nothing_gets_what_needs_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = Places(Case(1), range(1, 5), tmp_path, stack)
        assert set(found.kinds) == NEEDING_NOTHING | {"members", "damage"}
        assert found.directories == {server_id: tmp_path / str(server_id) for server_id in range(1, 5)}


@pytest.mark.usefixtures("powerless")
@pytest.mark.parametrize("kind", sorted(set(KINDS) - NEEDING_NOTHING - OF_SEVERAL | OF_THE_NETWORK))
def test_a_kind_asked_for_by_name_that_cannot_be_had_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(ConfigError, match=f"{kind}: it cannot be had here .not permitted.; run"):
        Places(Case(1, kinds=("kill", kind)), range(1, 5), tmp_path, stack)


@pytest.mark.usefixtures("powerless")
def test_a_server_alone_has_no_network_to_fail_and_no_members(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert set(Places(Case(1, servers=1), range(1, 2), tmp_path, stack).kinds) == NEEDING_NOTHING


@pytest.mark.usefixtures("powerless")
@pytest.mark.parametrize("kind", sorted(OF_SEVERAL))
def test_what_takes_several_servers_is_refused_for_one(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(ConfigError, match=f"{kind}: this takes several servers"):
        Places(Case(1, servers=1, kinds=(kind,)), range(1, 2), tmp_path, stack)


def test_a_kind_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(ConfigError, match="there is no kind 'plague'; choose from kill"):
        Places(Case(1, kinds=("plague",)), range(1, 5), tmp_path, stack)
