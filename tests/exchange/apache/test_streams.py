from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.apache import written
from tests.exchange.apache.servers import Server, shown
from zkstore.errors import DamageError
from zkstore.exchange.apache import snapshot_reader, streams
from zkstore.exchange.apache.layout import ApacheFile
from zkstore.exchange.apache.streams import Window


def window(content: bytes, piece_bytes: int) -> Window:
    pieces = (content[at : at + piece_bytes] for at in range(0, len(content), piece_bytes))
    return Window(pieces, Path("file"), lambda: None)


@given(st.integers(1, 40))
def test_fields_are_read_across_pieces_of_any_size(piece_bytes: int) -> None:
    content = written.i32(-5) + written.i64(1 << 60) + written.buffer(b"some bytes") + written.buffer(None)
    view = window(content, piece_bytes)
    assert (view.int32(), view.int64(), view.buffer(), view.buffer()) == (-5, 1 << 60, b"some bytes", None)
    assert view.offset == len(content)
    assert view.checksum() == zlib.adler32(content)
    assert view.available(1) == 0


def test_a_stream_that_ends_too_early_says_where() -> None:
    with pytest.raises(DamageError, match="file: the file is cut: it ends at byte 10"):
        window(bytes(10), 3).need(11)


@pytest.mark.parametrize("length", [-2, 1 << 30])
def test_a_length_that_cannot_be_is_damage(length: int) -> None:
    with pytest.raises(DamageError, match=f"a field cannot have {length} bytes, at byte 0"):
        window(written.i32(length), 4).buffer()


def test_gzip_is_unpacked_piece_by_piece() -> None:
    content = bytes(5 << 20) + b"end"
    pieces = list(streams.pieces(io.BytesIO(gzip.compress(content)), Path("snapshot.1.gz")))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= streams.PIECE_BYTES
    for broken in (gzip.compress(content)[:-9], b"no gzip"):
        with pytest.raises(DamageError, match=r"snapshot\.1\.gz"):
            list(streams.pieces(io.BytesIO(broken), Path("snapshot.1.gz")))


@pytest.mark.parametrize("piece_bytes", [1, 7, 64])
def test_a_snapshot_may_come_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    server = Server(1)
    server.run(40)
    (tmp_path / "snapshot.28").write_bytes(server.snapshot(40, 40))

    def small(file: io.BufferedReader, _: Path) -> Iterator[bytes]:
        return iter(lambda: file.read(piece_bytes), b"")

    monkeypatch.setattr(snapshot_reader, "pieces", small)
    read = snapshot_reader.read(ApacheFile(40, tmp_path / "snapshot.28"), lambda _: None)
    assert shown(read.tree) == shown(server.trees[-1])
    assert read.digest == (40, server.trees[-1].wrapped_digest)
