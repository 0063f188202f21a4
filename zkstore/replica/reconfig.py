"""Changes of the members, as the leader takes them from clients (protocol: reconfig; ensemble.md 11).

One at a time: until it is committed, by quorums of the old and of the new members, the next one is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from zkstore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigError,
    MarshallingError,
    MemberIdError,
    MemberIdRangeError,
    NewConfigNoQuorumError,
    ReconfigDisabledError,
    ReconfigInProgressError,
    UnimplementedError,
)
from zkstore.model.paths import CONFIG
from zkstore.model.record import data_of
from zkstore.model.tree import Tree
from zkstore.model.txns import RECONFIG, ReconfigTxn
from zkstore.replica.prepare import Asking, Preparation
from zkstore.wire.records import ReconfigRequest
from zkstore.zab import membership, reconfiguration
from zkstore.zab.membership import Membership

if TYPE_CHECKING:
    from zkstore.replica.replica import Replica
    from zkstore.replica.role import Ensemble


def members_in(tree: Tree) -> Membership | None:
    """The members that a tree names in /zookeeper/config; None where it does not.

    Raises ConfigError for a text that is none: only what `Reconfiguration` has made stands there in an ensemble.
    """
    data = data_of(tree.records[CONFIG])
    return membership.parse(data, CONFIG.decode()) if data else None


class Reconfiguration:
    """The members, and the change of them that is under way.

    Attributes:
        members: those of now; None for a server alone.
        pending: the change that has been proposed and not yet applied, and the members that it brings.
    """

    __slots__ = ("_ensemble", "_replica", "members", "pending")

    def __init__(self, replica: Replica, ensemble: Ensemble, members: Membership | None) -> None:
        self._replica = replica
        self._ensemble = ensemble
        self.members = members
        self.pending: tuple[ReconfigTxn, Membership] | None = None

    def prepare(self, asking: Asking, request: ReconfigRequest, preparation: Preparation) -> ReconfigTxn:
        """A client's request, checked in ZooKeeper's order. Raises RequestError."""
        settings, members = self._replica.settings, self.members
        if not settings.reconfig_enabled:
            raise ReconfigDisabledError
        if members is None:
            raise UnimplementedError
        if self.pending is not None:
            raise ReconfigInProgressError
        if request.config_version not in (-1, members.version):
            raise BadVersionError(CONFIG)
        voters_min = 2 if settings.standalone_enabled else 1
        try:
            if request.new_members is not None:
                wanted = reconfiguration.replaced(request.new_members, version=asking.zxid, voters_min=voters_min)
            else:
                wanted = reconfiguration.changed(
                    members, request.joining, request.leaving, version=asking.zxid, voters_min=voters_min
                )
        except MemberIdError as error:
            self._replica.notice(f"reconfig refused: {error}")
            raise MarshallingError from error
        except MemberIdRangeError as error:
            # ZooKeeper takes such a number: who may not change the members hears of that alone.
            preparation.may_reconfigure(asking)
            self._replica.notice(f"reconfig refused: {error}")
            raise BadArgumentsError from error
        except ConfigError as error:
            self._replica.notice(f"reconfig refused: {error}")
            raise BadArgumentsError from error
        if not self._ensemble.is_supported(wanted):
            raise NewConfigNoQuorumError
        txn = preparation.reconfig(asking, wanted.format().encode())
        self.pending = txn, wanted
        return txn

    def introduce(self, zxid: int, time_ms: int) -> ReconfigTxn | None:
        """The first leader of all puts into the tree which members it began with; None where the tree says it."""
        if self.members is None or data_of(self._replica.tree.records[CONFIG]):
            return None
        named = replace(self.members, version=zxid)
        txn = ReconfigTxn(RECONFIG, 0, 0, time_ms, named.format().encode())
        self.pending = txn, named
        return txn

    def applied(self) -> None:
        """The change is in the tree: its members decide now, and the next one may be asked for."""
        assert self.pending is not None, "a change that nobody proposed"
        self.members, self.pending = self.pending[1], None
