"""Who may log in by SASL, from either kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.server import sasl_users

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
