"""The bytes of a load: requests against known vectors, and a ring whose offsets fit its requests and replies."""

from __future__ import annotations

import random
import struct

import pytest

from tools.load_requests import (
    CLOSE_SESSION,
    EXISTS,
    MODES,
    REPLY_HEADER_BYTES,
    STAT_BYTES,
    Nodes,
    build_ring,
    connect_request,
    create_request,
    kinds_of,
    read_request,
    reply_bytes,
    request,
    set_request,
)


def test_a_connect_request_asks_for_a_new_session() -> None:
    assert connect_request() == bytes.fromhex(
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010" + "00" * 17
    )


def test_a_create_lets_everyone_do_everything() -> None:
    assert create_request(2, b"/a", b"x") == bytes.fromhex(
        "00000032 00000002 00000001 00000002 2f61 00000001 78 00000001 0000001f"
        "00000005 776f726c64 00000006 616e796f6e65 00000000"
    )


def test_a_read_sets_no_watch() -> None:
    assert read_request(1, EXISTS, b"/a") == bytes.fromhex("0000000f 00000001 00000003 00000002 2f61 00")


def test_a_read_can_set_one() -> None:
    assert read_request(1, EXISTS, b"/a", watch=True) == read_request(1, EXISTS, b"/a")[:-1] + b"\1"


def test_a_listing_may_have_any_number_of_children() -> None:
    nodes = Nodes(50, listed=1000)
    assert nodes.listed_path(999) == nodes.listing + b"/c000999"
    assert nodes.listing != Nodes(50).listing
    ring = build_ring("children", nodes, 10, depth=1, rng=random.Random(1), length=4)
    assert ring.headers[0] == (16 + 4 + 1000 * (4 + 7) + STAT_BYTES, 0)
    assert nodes.listing in bytes(ring.requests)


def test_a_set_takes_any_version() -> None:
    assert set_request(7, b"/a", b"yz") == bytes.fromhex(
        "00000018 00000007 00000005 00000002 2f61 00000002 797a ffffffff"
    )


def test_a_close_session_has_no_body() -> None:
    assert request(3, CLOSE_SESSION) == bytes.fromhex("00000008 00000003 fffffff5")


def test_a_reply_to_a_get_holds_the_data_and_its_stat() -> None:
    assert reply_bytes("get", 100) == REPLY_HEADER_BYTES + 4 + 100 + STAT_BYTES == 192


@pytest.mark.parametrize("nodes", [Nodes(1000), Nodes(1000, 10), Nodes(1_000_000, 1000)])
def test_all_paths_of_a_load_have_one_length(nodes: Nodes) -> None:
    assert len({len(nodes.path(number)) for number in (0, 9, nodes.count // 2, nodes.count - 1)}) == 1


def test_spread_nodes_lie_below_their_ancestors() -> None:
    nodes = Nodes(100, 7)
    ancestors = list(nodes.ancestors())
    assert len(ancestors) == 8
    assert {nodes.path(number).rpartition(b"/")[0] for number in range(100)} == set(ancestors[1:])


def test_a_mix_reads_nine_times_for_one_write() -> None:
    kinds = kinds_of("mix90", 10_000, random.Random(5))
    assert 850 < kinds.count("set") < 1150
    assert kinds.count("get") + kinds.count("set") == 10_000


@pytest.mark.parametrize("mode", MODES)
def test_a_ring_knows_where_each_request_and_reply_begins(mode: str) -> None:
    ring = build_ring(mode, Nodes(50), 10, depth=3, rng=random.Random(1), length=20)
    assert len(ring.headers) == len(ring.request_offsets) - 1 == len(ring.reply_offsets) - 1 == 20 + 2 * 3
    assert ring.request_offsets[-1] == len(ring.requests)
    for number, begin in enumerate(ring.request_offsets[:-1]):
        size, xid = struct.unpack_from(">ii", ring.requests, begin)
        assert begin + 4 + size == ring.request_offsets[number + 1]
        assert xid == number % 20 + 1
        assert ring.headers[number] == (ring.reply_offsets[number + 1] - ring.reply_offsets[number] - 4, 0)


def test_a_ring_begins_again_behind_its_end() -> None:
    ring = build_ring("mix90", Nodes(50), 10, depth=4, rng=random.Random(1), length=30)
    again = ring.requests[ring.request_offsets[30] :]
    assert again == ring.requests[: len(again)]
