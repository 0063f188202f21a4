"""Who may log in by SASL, from either kind of file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from zkstore.errors import ConfigError
from zkstore.net.files import LOOK_EVERY_S
from zkstore.server import sasl_users
from zkstore.server.sasl_users import SaslUsers

JAAS = """
// Of all servers.
Client { org.apache.zookeeper.server.auth.DigestLoginModule required username="bob" password="builder"; };
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    /* user_eve="old"; */
    user_super="hero"
    user_bob="it's \\"quoted\\" // } ; {"
    user_carol=plain;
};
Other { a.B required user_dave="x"; };
"""


def read(directory: Path, text: str, section: str = "Server") -> dict[str, str]:
    path = directory / "users"
    path.write_text(text, encoding="utf-8")
    return sasl_users.read(path, section)


def test_a_jaas_file_names_users_in_its_section(tmp_path: Path) -> None:
    assert read(tmp_path, JAAS) == {"super": "hero", "bob": 'it\'s "quoted" // } ; {', "carol": "plain"}
    assert read(tmp_path, JAAS, "Other") == {"dave": "x"}


def test_a_plain_file_names_a_user_a_line(tmp_path: Path) -> None:
    text = "# people\n\nbob = builder = { 7 }\n  zoë=naïve\n"
    assert read(tmp_path, text) == {"bob": "builder = { 7 }", "zoë": "naïve"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bob\n", ":1: no user and password; give lines of the form user = password"),
        ("\nbob =\n", ":2: no user and password"),
        ("# nobody\n", "it names no user"),
        ("Server { a.B required; };", "it names no user"),
        ("Client { a.B required; };", "there is no section Server; add one, or name another by sasl.serverconfig"),
        ('Server {\n a.B required user_bob="hunter2"', "the section Server does not end"),
        ("Server { com.sun.security.auth.module.Krb5LoginModule required; };", "asks for Kerberos"),
    ],
)
def test_a_file_that_lets_nobody_in_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert complaint in str(caught.value)
    assert str(tmp_path / "users") in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"bob=\xe9")
    for path, complaint in [
        (tmp_path / "missing", "no such file"),
        (tmp_path, "cannot be read (Is a directory)"),
        (latin, "byte 4 is not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=r"^java\.security\.auth\.login\.config=") as caught:
            sasl_users.read(path, "Server")
        assert complaint in str(caught.value)


# --- a file that changes --------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people"
    path.write_text("bob = builder\nsuper = of the file\n")
    return path


def replace_file(path: Path, text: str) -> None:
    """As careful people do: written beside, then moved in place."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def test_a_file_that_changes_is_read_anew_into_the_same_mapping(people: Path) -> None:
    users = SaslUsers(people, "Server", {"super": "hero"})
    passwords = users.passwords
    assert passwords == {"bob": "builder", "super": "hero"}
    users.refresh()
    assert passwords == {"bob": "builder", "super": "hero"}
    replace_file(people, "carol = singer\n")
    users.refresh()
    assert passwords == {"carol": "singer", "super": "hero"}


def test_a_file_that_does_not_fit_changes_nothing_and_is_told_once_without_a_secret(
    people: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    users = SaslUsers(people, "Server", {})
    replace_file(people, "bob = hunter2\nhunter3\n")
    users.refresh()
    users.refresh()
    assert users.passwords["bob"] == "builder"
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{people}:2: no user and password" in record.getMessage()
    people.unlink()
    users.refresh()
    assert users.passwords["bob"] == "builder"
    replace_file(people, "bob = hunter2\n")
    users.refresh()
    assert users.passwords == {"bob": "hunter2"}
    assert "hunter" not in caplog.text
    assert caplog.records[-1].getMessage().endswith("it names 1")


def test_at_the_start_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        SaslUsers(tmp_path / "nobody", "Server", {})


@pytest.mark.trio
async def test_the_file_is_looked_at_every_few_seconds(people: Path, autojump_clock: MockClock) -> None:
    users = SaslUsers(people, "Server", {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(users.watch)
        await trio.sleep(60)
        replace_file(people, "carol = singer\n")
        await trio.sleep(1.5 * LOOK_EVERY_S)
        assert users.passwords == {"carol": "singer"}
        nursery.cancel_scope.cancel()
