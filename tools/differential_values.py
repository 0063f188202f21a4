"""What random requests are made of: pools to choose from, in which a value stands as often as it should come.

Few paths, few versions and few users, so that requests meet: a script that mostly gets NONODE finds nothing.
"""

from __future__ import annotations

from typing import Any

from zkstore.model.acl import digest_id

CREDENTIALS = (b"ann:1", b"ann:1", b"bob:2", b"bob:2", b"super:secret", b"nocolon", b"")

PARENTS = (b"~/a", b"~/b", b"~/g")
COMMON_PATHS = (
    b"~",
    *(b"~/a",) * 5,
    *(b"~/b",) * 3,
    *(b"~/g",) * 2,
    *(b"~/a/a",) * 4,
    *(b"~/a/b",) * 2,
    b"~/a/g",
    b"~/a/a/a",
    b"~/b/a",
    b"~/g/a",
)
RARE_PATHS: tuple[bytes | None, ...] = (
    *(b"~/%s%010d" % (name, number) for name in (b"a", b"a/", b"b/b") for number in range(4)),
    "~/é".encode(),
    "~/a/\u4e2d".encode(),
    b"/",
    b"/zookeeper",
    b"/zookeeper/config",
    b"/zookeeper/quota",
)
BAD_PATHS: tuple[bytes | None, ...] = (
    None,
    b"",
    b"a",
    b"~/",
    b"~/a/",
    b"~//a",
    b"~/./a",
    b"~/a/..",
    b"~/.a",
    b"~/a/...",
    b"~/a\0",
    b"~/\x01",
    b"~/\xff",
    b"~/\xed\xa0\x80",
    b"~/ a b~",
    "~/\U0001f600".encode(),
    "~/\uf000".encode(),
    "~/\ufffd".encode(),
    "~/\x85".encode(),
    b"~/nope/a",
    b"~/nope//a",
)

_ANYONE = ("world", "anyone")
OPEN = ((31, *_ANYONE),)
READABLE_ACLS: tuple[Any, ...] = (
    ((1, *_ANYONE),),
    ((1, *_ANYONE), (30, "digest", digest_id(b"ann:1"))),
    ((5, *_ANYONE), (31, "auth", "")),
    ((1, *_ANYONE), (31, "auth", None)),
    ((25, *_ANYONE), (2, "ip", "127.0.0.0/8")),
    ((31, "ip", "127.0.0.1"),),
    ((0x7F, *_ANYONE),),
    ((31, *_ANYONE), (31, *_ANYONE), (1, *_ANYONE)),
    ((19, *_ANYONE), (12, "digest", digest_id(b"bob:2"))),
)
GUARDED_ACLS: tuple[Any, ...] = (
    ((31, "auth", ""),),
    ((31, "digest", digest_id(b"ann:1")),),
    ((16, *_ANYONE), (3, "digest", digest_id(b"bob:2"))),
    ((31, "ip", "10.0.0.0/8"), (2, *_ANYONE)),
    ((0, *_ANYONE),),
)
BAD_ACLS: tuple[Any, ...] = (
    None,
    (),
    ((31, "world", "bob"),),
    ((31, "world", None),),
    ((31, "digest", None),),
    ((31, None, "x"),),
    ((31, "bogus", "x"),),
    ((31, "super", ""),),
    ((31, "sasl", "ann"),),
    ((31, "x509", "CN=ann"),),
    ((31, "digest", "nocolon"),),
    ((31, "digest", "a:b:c"),),
    ((31, "digest", "a:b:"), (1, *_ANYONE)),
    ((31, "digest", ":b"), (1, *_ANYONE)),
    ((31, "ip", "1.2.3"),),
    ((31, "ip", "127.0.0.1/33"),),
    ((31, "ip", "127.0.0.1/-1"),),
    ((31, "ip", "127.0.0.1/"),),
    ((31, "ip", "127.0.0.256"),),
    ((31, "ip", "127.0.0.01"), (1, *_ANYONE)),
    ((31, "ip", "127.0.0.1/032"), (1, *_ANYONE)),
    ((31, "ip", "0.0.0.0/0"), (1, *_ANYONE)),
    ((31, "ip", "127.0.0.1/+8"), (1, *_ANYONE)),
    ((31, "ip", ""),),
    ((31, "auth", "x"), (31, "bogus", "x")),
)

LIMITS = (
    b"count=5,bytes=30",
    b"count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=6",
    b"count=1,bytes=1=;byteHardLimit=-1;countHardLimit=3",
    b"count=1,bytes=1=;byteHardLimit=20;countHardLimit=-1",
    b"countHardLimit=4",
    b"",
)
USAGES = (b"count=0,bytes=0", b"")

_NO_FLAGS = (-1, 7, 255)
CREATE_FLAGS = (*(0, 1) * 20, *(2, 3) * 10, *(4, 5, 6) * 2, *_NO_FLAGS)
CONTAINER_FLAGS = (*(4,) * 20, *(0, 2) * 6, *(5, 6) * 2, *_NO_FLAGS)

UNKNOWN_OPCODES = (0, -1, 10, 23, 99, 108, 1000, -100, 2**31 - 1)
VERSIONS = (*(-1,) * 14, 0, 0, 0, 1, 1, 2, 3, -2, 2**31 - 1)
