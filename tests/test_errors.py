"""Every exception: its family, its ZooKeeper code, and what it says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from zkstore import errors
from zkstore.errors import DamageError, RequestError, StorageError, ZkStoreError

# KeeperException.Code, as far as a server sends it.
CODES = {
    -1: "SystemFailureError",
    -2: "RuntimeInconsistencyError",
    -5: "MarshallingError",
    -6: "UnimplementedError",
    -8: "BadArgumentsError",
    -13: "NewConfigNoQuorumError",
    -14: "ReconfigInProgressError",
    -101: "NoNodeError",
    -102: "NoAuthError",
    -103: "BadVersionError",
    -108: "NoChildrenForEphemeralsError",
    -110: "NodeExistsError",
    -111: "NotEmptyError",
    -112: "SessionExpiredError",
    -114: "InvalidAclError",
    -115: "AuthFailedError",
    -118: "SessionMovedError",
    -119: "NotReadOnlyError",
    -120: "EphemeralOnLocalSessionError",
    -121: "NoWatcherError",
    -123: "ReconfigDisabledError",
    -124: "AuthRequiredError",
    -125: "QuotaExceededError",
    -127: "ThrottledOpError",
}

ALL = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, BaseException)]


def test_codes_are_zookeepers() -> None:
    known = {code: error.__name__ for code, error in RequestError.by_code.items()}
    assert known == CODES
    assert all(error.code == code for code, error in RequestError.by_code.items())


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_ours_and_says_what_it_is(error: type[BaseException]) -> None:
    assert issubclass(error, ZkStoreError)
    assert error.__doc__
    assert error.__name__.endswith("Error")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (None, "NoNode"),
        (b"/a", "NoNode for /a"),
        ("/a", "NoNode for /a"),
        (b"/\xff", "NoNode for /\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_request_error_names_its_path(path: bytes | str | None, text: str) -> None:
    error = errors.NoNodeError(path)
    assert str(error) == text
    assert error.path is None or isinstance(error.path, str)


def test_a_storage_error_names_where_and_what_to_do() -> None:
    error = StorageError("cannot be read", where=Path("/data"), advice="restore a backup")
    assert str(error) == "/data: cannot be read. restore a backup"
    assert (error.where, error.advice) == (Path("/data"), "restore a backup")
    assert str(StorageError("cannot be read")) == "cannot be read"


def test_damage_names_the_first_bad_zxid() -> None:
    error = DamageError("the checksum differs", zxid=0x1F, where="/data/log")
    assert str(error) == "/data/log: the checksum differs at zxid 0x1f"
    assert error.zxid == 0x1F
    assert DamageError("the checksum differs").zxid is None
