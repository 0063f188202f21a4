"""Txns: numbers that stand in logs for ever, and the fields that all of them open with."""

from __future__ import annotations

import pytest

from zkstore.model import txns


def test_the_numbers_of_the_kinds_never_change() -> None:
    assert {kind: record.__name__ for kind, record in txns.RECORDS.items()} == {
        1: "CreateSessionTxn",
        2: "CloseSessionTxn",
        3: "CreateTxn",
        4: "DeleteTxn",
        5: "SetDataTxn",
        6: "SetAclTxn",
        7: "MultiTxn",
        8: "ErrorTxn",
        9: "ReconfigTxn",
    }


@pytest.mark.parametrize(
    ("record", "rest"),
    [
        (txns.CreateSessionTxn, ("timeout_ms", "password")),
        (txns.CloseSessionTxn, ("paths",)),
        (txns.CreateTxn, ("path", "data", "acl", "owner")),
        (txns.DeleteTxn, ("path",)),
        (txns.SetDataTxn, ("path", "data", "version")),
        (txns.SetAclTxn, ("path", "acl", "aversion")),
        (txns.MultiTxn, ("changes",)),
        (txns.ErrorTxn, ("code",)),
        (txns.ReconfigTxn, ("data",)),
    ],
)
def test_every_txn_opens_with_the_same_fields(record: type[tuple], rest: tuple[str, ...]) -> None:
    assert record._fields == ("kind", "session_id", "cxid", "time_ms", *rest)
