"""The request for history as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from zkstore.errors import TruncatedRecordError
from zkstore.wire.history import HISTORY, HistoryRequest
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode

REQUESTS = some.builds(
    HistoryRequest,
    some.integers(-(1 << 31), (1 << 31) - 1),
    some.integers(-(1 << 63), (1 << 63) - 1),
    some.none() | some.binary(),
    some.none() | some.binary(),
    some.none() | some.text(),
)


@given(REQUESTS)
def test_decode_is_the_inverse_of_encode(request: HistoryRequest) -> None:
    assert HistoryRequest.decode(Reader(request.encode())) == request


@given(REQUESTS, some.data())
def test_a_part_of_one_is_truncated(request: HistoryRequest, data: some.DataObject) -> None:
    encoded = request.encode()
    length = data.draw(some.integers(0, len(encoded) - 1))
    with pytest.raises(TruncatedRecordError):
        HistoryRequest.decode(Reader(encoded[:length]))


def test_the_opcode_is_none_of_zookeepers() -> None:
    assert HISTORY not in set(Opcode)
    assert HISTORY > 1_000_000
