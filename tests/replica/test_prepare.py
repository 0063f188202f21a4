"""What a write does to the Stats around it, and which of its faults is told, in ZooKeeper's order."""

from __future__ import annotations

import pytest

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.model.acl import OPEN_ACL, digest_id
from zkstore.wire.opcodes import Opcode

BAD_ARGUMENTS, NO_NODE, NO_AUTH, BAD_VERSION, INVALID_ACL = -8, -101, -102, -103, -114
NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, NOT_EMPTY, MARSHALLING = -108, -110, -111, -5

EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL = 1, 2, 3
READ_ONLY = ((1, "world", "anyone"),)
SECRET = digest_id(b"user:secret")


# --- Stat -----------------------------------------------------------------------------------------


def test_a_create_fills_the_stat_and_counts_in_its_parent(client: Client) -> None:
    client.create(b"/p", b"parent")
    before = client.stat(b"/p")
    client.world.replica.time_ms += 500
    answer = client.create2(b"/p/n", b"data")
    time_ms = client.world.replica.time_ms
    assert answer.stat == (answer.zxid, answer.zxid, time_ms, time_ms, 0, 0, 0, 0, 4, 0, answer.zxid)
    assert client.stat(b"/p/n") == answer.stat
    assert client.stat(b"/p") == before._replace(cversion=1, num_children=1, pzxid=answer.zxid)


def test_new_data_changes_mzxid_mtime_version_and_length_only(client: Client) -> None:
    client.create(b"/n", b"four")
    before, root = client.stat(b"/n"), client.stat(b"/")
    client.world.replica.time_ms += 500
    answer = client.set_data(b"/n", b"longer")
    after = before._replace(
        mzxid=answer.zxid, mtime_ms=client.world.replica.time_ms, version=1, data_length=len(b"longer")
    )
    assert answer.stat == client.stat(b"/n") == after
    assert client.stat(b"/") == root


def test_the_same_data_again_is_a_new_version(client: Client) -> None:
    client.create(b"/n", b"x")
    assert [client.set_data(b"/n", b"x").stat.version for _ in range(3)] == [1, 2, 3]


def test_a_new_acl_changes_aversion_only(client: Client) -> None:
    client.create(b"/n", b"x")
    before, root = client.stat(b"/n"), client.stat(b"/")
    client.world.replica.time_ms += 500
    answer = client.set_acl(b"/n", ((31, "ip", "127.0.0.1"),))
    assert answer.stat == client.stat(b"/n") == before._replace(aversion=1)
    assert client.stat(b"/") == root
    assert client.get_data(b"/n").data == b"x"


def test_a_delete_counts_in_its_parent_as_a_change_of_children(client: Client) -> None:
    client.create(b"/p")
    client.create(b"/p/n")
    before = client.stat(b"/p")
    answer = client.delete(b"/p/n")
    assert answer.body == b""
    assert client.stat(b"/p") == before._replace(cversion=2, num_children=0, pzxid=answer.zxid)


def test_a_grandchild_concerns_its_parent_only(client: Client) -> None:
    client.create(b"/p")
    client.create(b"/p/c")
    before = client.stat(b"/p")
    client.create(b"/p/c/g")
    client.set_data(b"/p/c", b"x")
    assert client.stat(b"/p") == before


@pytest.mark.parametrize("data", [None, b"", b"\0", b"x" * 10_000])
def test_data_comes_back_as_it_went(client: Client, data: bytes | None) -> None:
    length = len(data or b"")
    client.create(b"/n", data)
    assert (client.get_data(b"/n").data, client.stat(b"/n").data_length) == (data, length)
    client.set_data(b"/n", b"between")
    client.set_data(b"/n", data)
    assert (client.get_data(b"/n").data, client.stat(b"/n").data_length) == (data, length)


def test_an_ephemeral_shows_its_session_and_others_show_none(client: Client) -> None:
    client.create(b"/e", flags=EPHEMERAL)
    client.create_container(b"/c")
    client.create_ttl(b"/t", 5_000)
    client.create(b"/plain", flags=4)
    assert client.stat(b"/e").ephemeral_owner == client.session_id
    assert [client.stat(path).ephemeral_owner for path in (b"/c", b"/t", b"/plain")] == [0, 0, 0]
    assert set(client.world.tree.reapable) == {b"/c", b"/t"}


def test_the_opcode_makes_a_container_and_its_flags_only_a_sequence(client: Client) -> None:
    assert client.create_container(b"/c", flags=EPHEMERAL).path == b"/c"
    assert client.create_container(b"/c-", flags=SEQUENTIAL).path == b"/c-0000000001"
    assert client.get_ephemerals().children == []
    assert len(client.world.tree.reapable) == 2


# --- sequential names -----------------------------------------------------------------------------


def test_the_suffix_counts_all_creations_under_the_parent(client: Client) -> None:
    client.create(b"/p")
    for name in (b"a", b"b", b"c"):
        client.create(b"/p/" + name)
    client.delete(b"/p/c")
    assert client.stat(b"/p").cversion == 4
    assert client.create(b"/p/s-", flags=SEQUENTIAL).path == b"/p/s-0000000003"
    assert client.create(b"/p/other-", flags=EPHEMERAL_SEQUENTIAL).path == b"/p/other-0000000004"


def test_the_suffix_never_goes_back(client: Client) -> None:
    client.create(b"/p")
    for number in range(3):
        path = client.create(b"/p/s", flags=SEQUENTIAL).path
        assert path == b"/p/s%010d" % number
        client.delete(path)


def test_a_failed_create_takes_no_number(client: Client) -> None:
    client.create(b"/p")
    client.create(b"/p/a")
    assert client.create(b"/p/a").code == NODE_EXISTS
    assert client.create(b"/p/\1", flags=SEQUENTIAL).code == BAD_ARGUMENTS
    assert client.create(b"/p/s", flags=SEQUENTIAL).path == b"/p/s0000000001"


def test_creates_under_way_are_counted(client: Client) -> None:
    client.create(b"/p")
    for _ in range(3):
        client.send.create(b"/p/s", flags=SEQUENTIAL)
    client.send.delete(b"/p/s0000000000")
    client.send.create(b"/p/s", flags=SEQUENTIAL)
    client.world.run_disk()
    paths = [answer.path for answer in client.answers() if answer.body]
    assert paths == [b"/p/s%010d" % number for number in range(4)]


def test_a_trailing_slash_asks_for_the_bare_number(client: Client) -> None:
    client.create(b"/p")
    assert client.create(b"/p/", flags=SEQUENTIAL).path == b"/p/0000000000"
    assert client.create(b"/", flags=SEQUENTIAL).path == b"/0000000001"
    assert client.create(b"/p/").code == BAD_ARGUMENTS


def test_the_first_sequential_under_the_root_is_number_zero(client: Client) -> None:
    assert client.create(b"/s", flags=SEQUENTIAL).path == b"/s0000000000"


# --- versions -------------------------------------------------------------------------------------


def test_a_version_must_fit_or_be_minus_one(client: Client) -> None:
    client.create(b"/n")
    assert client.set_data(b"/n", b"1", version=1).code == BAD_VERSION
    assert client.set_data(b"/n", b"1", version=0).code == 0
    assert client.set_data(b"/n", b"2", version=-1).code == 0
    assert client.set_acl(b"/n", OPEN_ACL, version=2).code == BAD_VERSION
    assert client.set_acl(b"/n", OPEN_ACL, version=0).code == 0
    assert client.delete(b"/n", version=1).code == BAD_VERSION
    assert client.delete(b"/n", version=2).code == 0


def test_a_version_under_way_counts(client: Client) -> None:
    client.create(b"/n")
    client.send.set_data(b"/n", b"1", version=0)
    client.send.set_data(b"/n", b"2", version=0)
    client.send.set_data(b"/n", b"3", version=1)
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, BAD_VERSION, 0]


# --- which fault is told --------------------------------------------------------------------------


@pytest.fixture
def fenced(client: Client) -> Client:
    """Somebody who may only read `/closed` and `/closed/n`, and owns the ephemeral `/e`."""
    client.create(b"/closed")
    client.create(b"/closed/n", acl=READ_ONLY)
    client.set_acl(b"/closed", READ_ONLY)
    client.create(b"/e", flags=EPHEMERAL)
    client.create(b"/full")
    client.create(b"/full/n")
    return client


def test_a_plain_create_takes_the_quick_way_and_the_general_one_makes_the_same_of_it() -> None:
    worlds = [World(), World(enforce_quota=True)]
    for world in worlds:
        client = world.client()
        client.create(b"/a")
        client.create(b"/a/b", b"data")
        client.create(b"/a/s-", b"x", 2)
        client.create(b"/a/", b"", 2)
        client.create2(b"/", b"", 2)
        client.create2(b"/a/b/c", b"y")
        client.create(b"/a/b", b"twice")
        client.create(b"/a/null", None)
        client.create(b"/a/.", b"")
        client.create(b"/a/\xc3\xa4", b"")
        client.create(b"a", b"")
        client.create(b"a/b", b"")
        client.create(b"//b", b"")
        client.create(b"/none/b", b"")
        client.create(b"/e", b"", 1)
        client.create(b"/e/b", b"")
        client.create_container(b"/c")
        client.create(b"/c/b", b"")
    quick, general = (world.tree for world in worlds)
    assert quick.records == general.records
    assert (quick.digest, quick.zxid, quick.data_bytes) == (general.digest, general.zxid, general.data_bytes)
    assert quick.children == general.children
    assert b"/a/0000000002" in quick.records


@pytest.mark.parametrize(
    ("path", "flags", "acl", "code"),
    [
        (b"/x", 7, None, BAD_ARGUMENTS),  # flags before everything
        (b"/x", -1, OPEN_ACL, BAD_ARGUMENTS),
        (b"/x", 5, OPEN_ACL, BAD_ARGUMENTS),
        (b"/x", 6, OPEN_ACL, BAD_ARGUMENTS),
        (b"x", 0, None, BAD_ARGUMENTS),  # no slash, before the ACL
        (b"", 0, None, BAD_ARGUMENTS),
        (b"/a\0", 0, None, BAD_ARGUMENTS),
        (b"/none/x", 0, None, INVALID_ACL),  # the ACL before the parent
        (b"/none/x", 0, (), INVALID_ACL),
        (b"/none/x", 0, ((31, "world", "somebody"),), INVALID_ACL),
        (b"/none/x", 0, ((31, "world", None),), MARSHALLING),
        (b"/none/x", 0, ((31, "auth", ""),), INVALID_ACL),
        (b"/none//x", 0, OPEN_ACL, NO_NODE),  # the parent before the rest of the path
        (b"/none/x\x01", 0, OPEN_ACL, NO_NODE),
        (b"relative/x", 0, OPEN_ACL, NO_NODE),
        (b"/closed/\x01", 0, OPEN_ACL, NO_AUTH),  # permission before the path
        (b"/closed/n", 0, OPEN_ACL, NO_AUTH),
        (b"/e/\x01", 0, OPEN_ACL, BAD_ARGUMENTS),  # the path before its existence
        (b"/full/", 0, OPEN_ACL, BAD_ARGUMENTS),
        (b"//x", 0, OPEN_ACL, BAD_ARGUMENTS),
        (b"/full/..", 0, OPEN_ACL, BAD_ARGUMENTS),
        ("/full/\N{GRINNING FACE}".encode(), 0, OPEN_ACL, BAD_ARGUMENTS),
        (b"/full/n", 0, OPEN_ACL, NODE_EXISTS),
        (b"/", 0, OPEN_ACL, NODE_EXISTS),
        (b"/e/n", 0, OPEN_ACL, NO_CHILDREN_FOR_EPHEMERALS),
        (b"/e/n", EPHEMERAL_SEQUENTIAL, OPEN_ACL, NO_CHILDREN_FOR_EPHEMERALS),
    ],
)
def test_faults_of_a_create(fenced: Client, path: bytes, flags: int, acl: object, code: int) -> None:
    records = dict(fenced.world.tree.records)
    answer = fenced.create(path, flags=flags, acl=acl)
    assert (answer.code, answer.body) == (code, b"")
    assert fenced.world.tree.records == records


@pytest.mark.parametrize(
    ("ttl_ms", "flags", "code"),
    [(0, 5, -8), (-1, 5, -8), (1 << 40, 5, -8), (1, 0, -8), (-1, 0, -8), (1, 5, 0), ((1 << 40) - 1, 6, 0)],
)
def test_faults_of_a_create_with_ttl(client: Client, ttl_ms: int, flags: int, code: int) -> None:
    assert client.create_ttl(b"/t", ttl_ms, flags).code == code


def test_nothing_lives_under_an_ephemeral_that_is_under_way(client: Client) -> None:
    client.send.create(b"/e", flags=EPHEMERAL)
    client.send.create(b"/e/n")
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, NO_CHILDREN_FOR_EPHEMERALS]


def test_containers_and_ttl_znodes_have_children(client: Client) -> None:
    client.create_container(b"/c")
    client.create_ttl(b"/t", 1_000)
    assert [client.create(b"/c/n").code, client.create(b"/t/n").code] == [0, 0]


@pytest.mark.parametrize(
    ("path", "version", "code"),
    [
        (b"n", -1, BAD_ARGUMENTS),
        (b"/full/n\0", -1, BAD_ARGUMENTS),
        (b"/", -1, BAD_ARGUMENTS),
        (b"/zookeeper", -1, BAD_ARGUMENTS),
        (b"/zookeeper/quota", -1, BAD_ARGUMENTS),
        (b"/zookeeper/config", -1, BAD_ARGUMENTS),
        (b"/none/n", -1, NO_NODE),
        (b"/closed/none", -1, NO_AUTH),  # permission before existence
        (b"/closed/n", 9, NO_AUTH),  # and before the version
        (b"/full/none", 9, NO_NODE),
        (b"/full/", -1, NO_NODE),
        (b"/full", 9, BAD_VERSION),  # the version before the children
        (b"/full", 0, NOT_EMPTY),
    ],
)
def test_faults_of_a_delete(fenced: Client, path: bytes, version: int, code: int) -> None:
    assert fenced.delete(path, version).code == code


def test_a_znodes_own_acl_does_not_protect_it_from_deletion(client: Client) -> None:
    client.create(b"/n", acl=READ_ONLY)
    assert client.delete(b"/n").code == 0


@pytest.mark.parametrize(
    ("path", "version", "code"),
    [
        (b"", -1, BAD_ARGUMENTS),
        (b"full", -1, BAD_ARGUMENTS),
        (b"/none/", -1, BAD_ARGUMENTS),
        (b"/none", 9, NO_NODE),
        (b"/closed", 9, NO_AUTH),
        (b"/full", 9, BAD_VERSION),
    ],
)
def test_faults_of_a_set_data(fenced: Client, path: bytes, version: int, code: int) -> None:
    assert fenced.set_data(path, b"x", version).code == code


@pytest.mark.parametrize(
    ("path", "acl", "version", "code"),
    [
        (b"/none/", None, -1, BAD_ARGUMENTS),  # the path before the ACL
        (b"/none", None, -1, INVALID_ACL),  # the ACL before existence
        (b"/none", OPEN_ACL, 9, NO_NODE),
        (b"/closed", OPEN_ACL, 9, NO_AUTH),
        (b"/full", OPEN_ACL, 9, BAD_VERSION),
    ],
)
def test_faults_of_a_set_acl(fenced: Client, path: bytes, acl: object, version: int, code: int) -> None:
    assert fenced.set_acl(path, acl, version).code == code


@pytest.mark.parametrize(
    ("path", "version", "code"),
    [(b"/none/", -1, BAD_ARGUMENTS), (b"/none", 9, NO_NODE), (b"/hidden", 9, NO_AUTH), (b"/full", 9, BAD_VERSION)],
)
def test_faults_of_a_check(fenced: Client, path: bytes, version: int, code: int) -> None:
    fenced.create(b"/hidden", acl=((2, "world", "anyone"),))
    assert fenced.multi(fenced.world.ops.check(path, version)).codes == [code]


# --- who may --------------------------------------------------------------------------------------


def test_an_acl_for_auth_is_for_whoever_is_authenticated(client: Client) -> None:
    assert client.add_auth("digest", b"user:secret") == 0
    client.create(b"/mine", b"x", acl=((31, "auth", ""),))
    assert client.get_acl(b"/mine").acl == ((31, "digest", SECRET),)
    stranger = client.world.client()
    assert [stranger.get_data(b"/mine").code, stranger.set_data(b"/mine").code] == [NO_AUTH, NO_AUTH]
    stranger.add_auth("digest", b"user:secret")
    assert stranger.set_data(b"/mine", b"y").code == 0


def test_a_write_is_judged_by_the_acl_that_is_under_way(client: Client) -> None:
    client.create(b"/n")
    client.send.set_acl(b"/n", READ_ONLY)
    client.send.set_data(b"/n", b"x")
    client.send.set_acl(b"/n", OPEN_ACL)
    client.world.run_disk()
    assert [answer.code for answer in client.answers()] == [0, NO_AUTH, NO_AUTH]


def test_the_super_user_may_everything(make_world: type[World]) -> None:
    world = make_world(super_digest=digest_id(b"super:admin"))
    client = world.client()
    client.create(b"/n", acl=((0, "world", "anyone"),))
    assert client.get_data(b"/n").code == NO_AUTH
    client.add_auth("digest", b"super:admin")
    assert [client.get_data(b"/n").code, client.set_acl(b"/n", OPEN_ACL).code] == [0, 0]


def test_a_server_may_be_told_to_skip_acls(make_world: type[World]) -> None:
    client = make_world(skip_acl=True).client()
    client.create(b"/n", acl=((0, "world", "anyone"),))
    assert [client.set_data(b"/n").code, client.get_data(b"/n").code, client.delete(b"/n").code] == [0, 0, 0]


def test_an_acl_of_perms_zero_and_unknown_bits_is_kept(client: Client) -> None:
    for perms in (0, 1 << 20, -1):
        client.create(b"/n", acl=((perms, "world", "anyone"), (perms, "world", "anyone")))
        assert client.world.tree.acl(b"/n") == ((perms, "world", "anyone"),)
        client.delete(b"/n")


@pytest.mark.parametrize("opcode", [Opcode.CREATE, Opcode.CREATE2])
def test_create2_answers_with_the_stat(client: Client, opcode: int) -> None:
    answer = client.create(b"/a") if opcode == Opcode.CREATE else client.create2(b"/a")
    assert answer.path == b"/a"
    assert len(answer.body) == 6 + (68 if opcode == Opcode.CREATE2 else 0)
