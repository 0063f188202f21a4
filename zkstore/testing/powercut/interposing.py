"""Stands between the libraries of this process and the C library: chosen functions of theirs lead to Python first.

A shared object calls the C library through slots of its own, which the loader has filled (ELF: the relocations of the
dynamic section that name a symbol). To interpose is to put another address there. That needs no compiler, no tracer
and no second process, and reaches what is written in C, LMDB above all, as well as the interpreter itself.

For 64-bit Linux. Calls that a library makes within itself, or without the C library, are not seen: whoever records
files compares the outcome with them at the end.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any, Final

from zkstore.errors import ConfigError

_PT_DYNAMIC: Final = 2
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_DYNAMIC: Final = Struct("<qQ")
_RELOCATION: Final = Struct("<QQq")
_SYMBOL_BYTES: Final = 24
_SLOT_KINDS: Final = frozenset({1, 6, 7, 257, 1025, 1026})
"""Relocations that hold the address of a symbol: absolute, data and jump slots of x86-64, then of AArch64."""
_PAGE_BYTES: Final = 4096
_READ_WRITE: Final = 3
_INTERPRETER: Final = "libpython"
_EXTENSIONS: Final = ("lmdb", "_socket", "mmap")
"""Parts of the names of the objects that are looked at; the main program has no name there."""
_NOT_OF_THE_INTERPRETER: Final = (b"mmap", b"mmap64")
"""It asks for its own memory so, in the midst of which nothing of it can run."""


class _Header(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("physical", ctypes.c_uint64),
        ("file_bytes", ctypes.c_uint64),
        ("memory_bytes", ctypes.c_uint64),
        ("alignment", ctypes.c_uint64),
    )


class _Loaded(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.POINTER(_Header)),
        ("header_count", ctypes.c_uint16),
    )


_VISIT: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Loaded), ctypes.c_size_t, ctypes.c_void_p)
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


class Interposed:
    """Functions of the C library that lead elsewhere, from construction until `restore`.

    `replacements` maps a name to the function's C type and to what is called with the real one in front of the
    arguments. The type must be made with `use_errno`: the last call of the real one decides what errno is.
    """

    def __init__(self, replacements: Mapping[str, tuple[Any, Callable[..., Any]]]) -> None:
        if sys.platform != "linux" or sys.maxsize < 1 << 32:
            raise ConfigError("recording what is written needs a 64-bit Linux")
        wanted: dict[bytes, Any] = {}
        for name, (prototype, replacement) in replacements.items():
            if hasattr(_LIBRARY, name):
                wanted[name.encode()] = prototype(_bound(replacement, prototype((name, _LIBRARY))))
        self._kept = wanted  # C holds nothing but addresses
        self._slots: list[tuple[int, int]] = []
        for address, symbol in _slots():
            if symbol in wanted:
                slot = ctypes.c_uint64.from_address(address)
                self._slots.append((address, slot.value))
                _make_writable(address)
                slot.value = ctypes.cast(wanted[symbol], ctypes.c_void_p).value or 0

    def restore(self) -> None:
        """Everything leads where it did before; doing so twice is harmless."""
        for address, value in self._slots:
            ctypes.c_uint64.from_address(address).value = value
        self._slots = []


def _bound(replacement: Callable[..., Any], real: Any) -> Callable[..., Any]:
    return lambda *arguments: replacement(real, *arguments)


def _make_writable(address: int) -> None:
    """The loader protects the slots that it has filled for good."""
    page = address & ~(_PAGE_BYTES - 1)
    if _LIBRARY.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE_BYTES), _READ_WRITE):
        raise ConfigError("recording what is written is forbidden here: memory cannot be made writable")


def _slots() -> list[tuple[int, bytes]]:
    """(address, name of the symbol) of every slot in the objects that write files for a server."""
    found: list[tuple[int, bytes]] = []

    def visit(loaded: Any, _: int, __: Any) -> int:
        path = (loaded.contents.name or b"").decode("utf-8", "replace")
        name = "/".join(path.split("/")[-2:])
        is_extension = any(part in name for part in _EXTENSIONS)
        if not name or _INTERPRETER in name or is_extension:
            for address, size in _tables(loaded.contents):
                slots = _named(loaded.contents, address, size)
                found.extend(slot for slot in slots if is_extension or slot[1] not in _NOT_OF_THE_INTERPRETER)
        return 0

    _LIBRARY.dl_iterate_phdr(_VISIT(visit), None)
    return found


def _dynamic(loaded: Any) -> dict[int, int]:
    entries: dict[int, int] = {}
    for index in range(loaded.header_count):
        header = loaded.headers[index]
        if header.kind == _PT_DYNAMIC:
            for tag, value in _DYNAMIC.iter_unpack(ctypes.string_at(loaded.base + header.address, header.memory_bytes)):
                if not tag:
                    break
                entries[tag] = value
    return entries


def _tables(loaded: Any) -> Iterator[tuple[int, int]]:
    """(address, bytes) of the tables of relocations."""
    entries = _dynamic(loaded)
    for at, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        if at in entries and size in entries:
            yield _absolute(loaded, entries[at]), entries[size]


def _named(loaded: Any, address: int, size: int) -> Iterator[tuple[int, bytes]]:
    entries = _dynamic(loaded)
    symbols, strings = _absolute(loaded, entries[_DT_SYMTAB]), _absolute(loaded, entries[_DT_STRTAB])
    for offset, info, addend in _RELOCATION.iter_unpack(ctypes.string_at(address, size)):
        if info >> 32 and info & 0xFFFFFFFF in _SLOT_KINDS and not addend:
            at = ctypes.c_uint32.from_address(symbols + (info >> 32) * _SYMBOL_BYTES).value
            yield loaded.base + offset, ctypes.string_at(strings + at)


def _absolute(loaded: Any, value: int) -> int:
    """Some loaders write absolute addresses into the dynamic section, some leave those of the file."""
    return int(value if value >= loaded.base else value + loaded.base)
