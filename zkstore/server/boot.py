"""From a recovered store to a member: of an ensemble of several, or alone."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from zkstore.errors import ConfigError, DamageError, MisplacedError, StorageError
from zkstore.model.zxid import epoch_of, text
from zkstore.net.listeners import Listener, listen
from zkstore.replica import member as members
from zkstore.replica.member import Member
from zkstore.replica.replica import Replica
from zkstore.server.config import Config
from zkstore.server.ensemble_config import EnsembleConfig
from zkstore.storage import aside
from zkstore.storage import directory as directory_
from zkstore.storage.history import LogHistory
from zkstore.storage.log import Epochs
from zkstore.storage.recovery import Recovered
from zkstore.storage.store import Store
from zkstore.zab.membership import Member as MemberLine
from zkstore.zab.settings import DurableState, PeerSettings

logger = logging.getLogger(__name__)

_VOTERS_MIN: Final = 2
"""With fewer voters there is nobody who could bring a server in step that has lost its data."""


def make_member(config: Config, store: Store, recovered: Recovered, replica: Replica) -> Member:
    """The member that `config` describes, with what lies in the store. Raises StorageError and InvariantError."""
    log = store.log
    ensemble = config.ensemble
    if ensemble is None:
        return members.alone(
            replica,
            promised_epoch=log.epochs.accepted,
            adopted_epoch=log.epochs.current,
            ensemble_id=log.ensemble_id,
        )
    epoch = epoch_of(log.end.zxid)
    if log.ensemble_id is None and log.epochs.accepted < epoch:
        # Imported data, or that of a server that was alone: all of it was decided by one server, its epochs, too.
        log.set_epochs(Epochs(epoch, epoch))
    settings = PeerSettings(
        server_id=ensemble.server_id,
        fresh_ensemble_id=secrets.token_bytes(16),
        tick_ms=config.tick_ms,
        init_limit=ensemble.init_limit,
        sync_limit=ensemble.sync_limit,
    )
    state = DurableState(
        promised_epoch=log.epochs.accepted,
        adopted_epoch=log.epochs.current,
        last_zxid=log.end.zxid,
        last_crc=log.end.crc,
        committed_zxid=recovered.tree.zxid,
        ensemble_id=log.ensemble_id,
        enrolment=log.enrolment,
    )
    member = Member(settings, ensemble.membership, state, LogHistory(log), replica, store.tail(recovered))
    agreed = member.members
    if agreed.version and not agreed.has_same_members(ensemble.membership):
        logger.warning(
            "the server lines differ from what the ensemble has agreed on at zxid %s, and that counts: %s; to change "
            "it use reconfig",
            text(agreed.version),
            " ".join(agreed.lines()),
        )
    return member


def open_store(config: Config) -> tuple[Store, Recovered]:
    """Own the data directory and recover the tree: with all that the log holds, if this server decides alone.

    A member of an ensemble whose data is damaged sets it aside: the others have all of it. It has no vote then until
    they have brought it in step. Raises StorageError, having let go of everything.
    """
    if config.ensemble is None or len(config.ensemble.membership.voters) < _VOTERS_MIN:
        return _open_and_recover(config)
    directory = directory_.locate(config.data_dir, config.data_log_dir)
    set_aside = aside.unfinished(directory)
    if set_aside is None:
        try:
            return _open_and_recover(config)
        except MisplacedError:
            raise
        except DamageError as damage:
            set_aside = aside.begin(directory, damage)
            logger.error(
                "the data of this server is damaged. %s. It was set aside, nothing is deleted: %s. This server gets "
                "everything anew from the leader, and has no vote until then",
                damage,
                set_aside.path,
            )
    store, recovered = _open_and_recover(config)
    try:
        aside.finish(set_aside, store.log)
    except StorageError:
        store.close()
        raise
    return store, recovered


def _open_and_recover(config: Config) -> tuple[Store, Recovered]:
    store = Store.open(
        config.data_dir,
        log_directory=config.data_log_dir,
        history_bytes_max=config.history_bytes_max,
        snapshots_kept=config.snapshots_kept,
    )
    try:
        return store, _recover(config, store)
    except StorageError:
        store.close()
        raise


def _recover(config: Config, store: Store) -> Recovered:
    recovered = store.recover(committed_only=config.ensemble is not None)
    if config.ensemble is not None:
        store.tail(recovered)  # What lies there may yet be agreed on, so it has to be sound, too.
    if config.ensemble is None and store.log.ensemble_id is not None:
        logger.warning(
            "this data directory belongs to an ensemble, and is served alone now: what is written here the other "
            "servers of that ensemble will not have"
        )
    return recovered


def last_crc(store: Store, recovered: Recovered) -> int:
    """Of the segment that the recovered tree ends with; what the log holds behind it may never be agreed on."""
    crc = store.log.crc_at(recovered.tree.zxid)
    assert crc is not None, "a recovered tree ends with a segment, or where the log starts"
    return crc


def open_peer_port(ensemble: EnsembleConfig, me: MemberLine) -> list[Listener]:
    """Listen for other servers, where `me` says. Raises ConfigError, and listens nowhere then."""
    listeners: list[Listener] = []
    for host, port in ensemble.listen_addresses(me):
        try:
            listeners += listen(host, port, None, ensemble.encryption)
        except OSError as error:
            for listener in listeners:
                listener.socket.close()
            raise ConfigError(
                f"cannot listen for other servers on {host}:{port}: {error.strerror or error}. Is another server"
                f" running there? Correct the line server.{ensemble.server_id}, or give quorumListenOnAllIPs=true if"
                " its host is an address of another machine's in front of this one"
            ) from error
    return listeners
