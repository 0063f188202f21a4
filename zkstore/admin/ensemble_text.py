"""What the four-letter words say beyond a server alone about a member of an ensemble.

Names and forms are ZooKeeper's, compared with three running Apache 3.8 servers. Our own are zk_epoch, zk_leader_id and
zk_N_learner_lag, the txns of this epoch that server N has not acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zkstore.admin import java_text
from zkstore.model import zxid
from zkstore.server.figures import EnsembleFigures, LearnerFigures, ServerView

LEARNING: Final = frozenset({"follower", "observer"})
"""Modes of a server that another one leads."""

_STATES: Final = {"leader": "leading", "follower": "following", "observer": "observing"}


def configuration(view: ServerView) -> str:
    """What `conf` appends: the settings, and the members with no newline at the end."""
    told, ensemble = view.config().ensemble, view.ensemble()
    if told is None or ensemble is None:
        return ""
    me = ensemble.members.by_id.get(ensemble.server_id, told.me)
    values = {
        "initLimit": told.init_limit,
        "syncLimit": told.sync_limit,
        "electionAlg": 3,
        "electionPort": "|".join(str(address.election_port) for address in me.addresses),
        "quorumPort": "|".join(str(address.peer_port) for address in me.addresses),
        "peerType": 0 if me.is_voter else 1,
    }
    lines = "".join(f"{key}={value}\n" for key, value in values.items())
    return f"{lines}membership: \n{ensemble.members.format()}"


def proposal_sizes(mode: str, ensemble: EnsembleFigures | None) -> str:
    """The line that a leader adds to `srvr` and `stat`; the proposals are segments here, of one txn or many."""
    if ensemble is None or mode != "leader":
        return ""
    return "Proposal sizes last/min/max: " + "/".join(map(str, ensemble.proposal_bytes)) + "\n"


def global_sessions(timeouts: Mapping[int, int]) -> str:
    """What `dump` says of sessions whose expiry another server decides."""
    lines = "".join(f"{java_text.hexadecimal(each)}\t{timeout}ms\n" for each, timeout in sorted(timeouts.items()))
    return f"Global Sessions({len(timeouts)}):\n{lines}"


def state(mode: str, ensemble: EnsembleFigures | None) -> str:
    """What follows zk_server_state in `mntr`."""
    if ensemble is None:
        return ""
    lines = f"zk_peer_state\t{_STATES[mode]} - broadcast\n"
    return lines + (f"zk_observer_master_id\t{ensemble.leader_id}\n" if mode == "observer" else "")


def metrics(ensemble: EnsembleFigures | None) -> dict[str, int | float]:
    """By their names without zk_."""
    if ensemble is None:
        return {}
    values: dict[str, int | float] = {
        "quorum_size": len(ensemble.members.voters),
        "epoch": ensemble.epoch,
        "leader_id": ensemble.leader_id,
    }
    if ensemble.leader_id != ensemble.server_id:
        return values
    in_step = [learner for learner in ensemble.learners if learner.is_in_step]
    observing = sum(learner.server_id in ensemble.members.observers for learner in in_step)
    voting = sum(learner.is_voter for learner in in_step)
    values["learners"] = len(ensemble.learners)
    values["synced_followers"] = voting
    values["synced_non_voting_followers"] = len(in_step) - voting - observing
    values["synced_observers"] = observing
    values["pending_syncs"] = ensemble.pending_syncs
    for learner in ensemble.learners:
        values[f"{learner.server_id}_learner_lag"] = _lag(ensemble, learner)
    return values


def _lag(ensemble: EnsembleFigures, learner: LearnerFigures) -> int:
    """Those of earlier epochs cannot be counted: zxids do not say how many there were."""
    begin = zxid.make(ensemble.epoch, 0)
    return max(0, max(ensemble.logged_zxid, begin) - max(learner.acked_zxid, begin))
