"""create, delete and setData against a twin that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replica.world import World
from zkstore.model.stat import Stat

NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY, NO_CHILDREN = -101, -103, -110, -111, -108
PATHS = ["/a", "/b", "/a/x", "/a/y", "/a/x/z"]


@dataclass
class Znode:
    data: bytes | None
    owner: int
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int = 0
    created: int = 0
    deleted: int = 0
    children: set[str] = field(default_factory=set)

    def stat(self) -> Stat:
        return Stat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            self.created + self.deleted,
            0,
            self.owner,
            len(self.data or b""),
            len(self.children),
            self.pzxid,
        )


class NaiveServer:
    """Znodes by path; one method a verb, which gives the code, or the path that came to be."""

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.znodes = {"": Znode(b"", 0, 0, 0, 0, 0, 0, created=-1, deleted=0, children={"zookeeper"})}
        self.creations = {"": 0}

    def create(self, zxid: int, now: int, path: str, data: bytes | None, flags: int) -> int | str:
        parent_path = path.rpartition("/")[0]
        parent = self.znodes.get(parent_path)
        if parent is None:
            return NO_NODE
        if flags >= 2:
            path = f"{path}{self.creations[parent_path]:010}"
        if path in self.znodes:
            return NODE_EXISTS
        if parent.owner:
            return NO_CHILDREN
        owner = self.session_id if flags in (1, 3) else 0
        self.znodes[path] = Znode(data, owner, zxid, zxid, zxid, now, now)
        self.creations[path] = 0
        self.creations[parent_path] += 1
        parent.children.add(path.rpartition("/")[2])
        parent.created += 1
        parent.pzxid = zxid
        return path

    def delete(self, zxid: int, path: str, version: int) -> int:
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE
        if version not in (-1, znode.version):
            return BAD_VERSION
        if znode.children:
            return NOT_EMPTY
        del self.znodes[path]
        parent_path, _, name = path.rpartition("/")
        parent = self.znodes[parent_path]
        parent.children.remove(name)
        parent.deleted += 1
        parent.pzxid = zxid
        return 0

    def set_data(self, zxid: int, now: int, path: str, data: bytes | None, version: int) -> int:
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE
        if version not in (-1, znode.version):
            return BAD_VERSION
        znode.data, znode.mzxid, znode.mtime = data, zxid, now
        znode.version += 1
        return 0


paths = st.sampled_from(PATHS)
contents = st.sampled_from([None, b"", b"1", b"22"])
versions = st.sampled_from([-1, -1, 0, 1, 2])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), paths, contents, st.sampled_from([0, 0, 0, 1, 2, 3])),
        st.tuples(st.just("create"), paths, contents, st.just(0)),
        st.tuples(st.just("delete"), paths, versions),
        st.tuples(st.just("set_data"), paths, contents, versions),
    ),
    min_size=15,
    max_size=60,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps)
def test_the_server_agrees_with_its_naive_twin(make_world: type[World], steps: list[tuple]) -> None:
    world = make_world()
    client = world.client()
    naive = NaiveServer(client.session_id)
    for verb, path, *arguments in steps:
        world.replica.time_ms += 1
        now, zxid = world.replica.time_ms, world.tree.zxid + 1
        if verb == "create":
            expected = naive.create(zxid, now, path, *arguments)
            answer = client.create(path.encode(), *arguments)
            got: int | str = answer.code or (answer.path or b"").decode()
        elif verb == "delete":
            expected = naive.delete(zxid, path, *arguments)
            got = client.delete(path.encode(), *arguments).code
        else:
            expected = naive.set_data(zxid, now, path, *arguments)
            got = client.set_data(path.encode(), *arguments).code
        assert got == expected
        assert world.tree.zxid == zxid
    for name, znode in naive.znodes.items():
        shown = name.encode() or b"/"
        assert client.get_data(shown).data == znode.data
        assert client.stat(shown) == znode.stat()
        assert {child.decode() for child in client.get_children(shown).children} == znode.children
    assert len(world.tree.records) == len(naive.znodes) + 3
