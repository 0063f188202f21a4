"""Listings: kept where that is worth it, never a moment too long, and not too many."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.replica.clients import Client
from tests.replica.world import World
from zkstore.model.tree import Tree
from zkstore.replica.listings import Listings
from zkstore.wire import jute
from zkstore.wire.multi import Op

LARGE = 60


def fill(client: Client, parent: bytes, count: int = LARGE) -> None:
    """A znode with so many children."""
    children = [World.ops.create(b"%s/n%03d" % (parent, number)) for number in range(count)]
    assert client.multi(World.ops.create(parent), *children).code == 0


def expected(tree: Tree, parent: bytes) -> bytes:
    """The vector, made anew from the paths of all znodes."""
    prefix = parent if parent == b"/" else parent + b"/"
    names = [path[len(prefix) :] for path in tree.children.get(parent, {}) if path.startswith(prefix)]
    return jute.buffers(names)


def test_a_large_listing_is_made_once(client: Client) -> None:
    fill(client, b"/large")
    listings = client.world.replica.listings
    listing = listings.of(b"/large")
    assert listing == expected(client.world.tree, b"/large")
    assert listings.of(b"/large") is listing
    assert listings.kept_bytes == len(listing)


def test_small_listings_are_not_kept(client: Client) -> None:
    fill(client, b"/small", 3)
    listings = client.world.replica.listings
    assert listings.of(b"/small") == jute.buffers([b"n000", b"n001", b"n002"])
    assert listings.of(b"/small/n000") == jute.buffers([])
    assert listings.kept_bytes == 0


def test_a_client_sees_each_child_that_comes_or_goes(client: Client) -> None:
    fill(client, b"/large")
    assert len(client.get_children(b"/large").children) == LARGE
    client.create(b"/large/new")
    assert b"new" in client.get_children(b"/large").children
    client.delete(b"/large/n000")
    assert b"n000" not in client.children2(b"/large").children
    client.multi(World.ops.create(b"/large/other"), World.ops.delete(b"/large/new"))
    names = client.get_children(b"/large").children
    assert b"other" in names and b"new" not in names


def test_ephemerals_that_end_with_their_session_leave_the_listing(client: Client) -> None:
    fill(client, b"/large")
    other = client.world.client()
    other.create(b"/large/mine", flags=1)
    assert b"mine" in client.get_children(b"/large").children
    other.close()
    assert b"mine" not in client.get_children(b"/large").children


def test_a_parent_that_was_made_anew_has_a_new_listing(client: Client) -> None:
    fill(client, b"/large")
    before = client.get_children(b"/large").children
    client.multi(*[World.ops.delete(b"/large/" + name) for name in before], World.ops.delete(b"/large"))
    children = [World.ops.create(b"/large/m%03d" % number) for number in range(LARGE)]
    client.multi(World.ops.create(b"/large"), *children)
    after = client.get_children(b"/large").children
    assert len(after) == LARGE and not set(before) & set(after)


def test_what_is_no_child_leaves_the_listing_as_it_is(client: Client) -> None:
    fill(client, b"/large")
    listing = client.world.replica.listings.of(b"/large")
    client.set_data(b"/large", b"data")
    client.set_acl(b"/large", ((31, "world", "anyone"), (1, "ip", "127.0.0.1")))
    client.create(b"/large/n000/grandchild")
    assert client.world.replica.listings.of(b"/large") is listing


def test_the_oldest_are_given_up_for_new_ones(client: Client) -> None:
    for parent in (b"/a", b"/b", b"/c"):
        fill(client, parent)
    tree = client.world.tree
    size = len(expected(tree, b"/a"))
    listings = Listings(tree, bytes_max=2 * size)
    first, second = listings.of(b"/a"), listings.of(b"/b")
    assert listings.of(b"/c") == expected(tree, b"/c")
    assert listings.kept_bytes == 2 * size
    assert listings.of(b"/b") is second
    again = listings.of(b"/a")
    assert again == first and again is not first


def test_a_listing_larger_than_all_that_may_be_kept_drives_no_other_out(client: Client) -> None:
    fill(client, b"/a")
    fill(client, b"/larger", 2 * LARGE)
    listings = Listings(client.world.tree, bytes_max=len(expected(client.world.tree, b"/a")))
    kept = listings.of(b"/a")
    assert listings.of(b"/larger") == expected(client.world.tree, b"/larger")
    assert listings.of(b"/a") is kept


changes = st.builds(
    lambda create, parent, number: (World.ops.create if create else World.ops.delete)(b"%s/n%03d" % (parent, number)),
    st.booleans(),
    st.sampled_from([b"/a", b"/b", b"/a/n001"]),
    st.integers(0, LARGE + 10),
)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(changes, min_size=1, max_size=4), max_size=15))
def test_a_listing_is_always_that_of_the_tree(make_world: type[World], batches: list[list[Op]]) -> None:
    world = make_world()
    client = world.client()
    fill(client, b"/a")
    fill(client, b"/b", 48)
    for batch in batches:
        client.multi(*batch)
        for parent in (b"/", b"/a", b"/b"):
            assert world.replica.listings.of(parent) == expected(world.tree, parent)
