"""Settings about TLS, SASL and identities, as people write them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.net.certificates import ClientAuth
from zkstore.server.config import Config, load

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
PROVIDERS = "org.apache.zookeeper.server.auth"


def load_lines(directory: Path, *lines: str) -> tuple[Config, list[str]]:
    path = directory / "zoo.cfg"
    path.write_text("\n".join(["dataDir=/srv/zk", *lines, ""]), encoding="utf-8")
    return load(path, {}, {})


def test_a_zoo_cfg_with_tls_and_sasl_as_people_have_it_is_taken_without_a_word(tmp_path: Path) -> None:
    config, warnings = load_lines(
        tmp_path,
        "clientPort=2181",
        "secureClientPort=2281",
        "secureClientPortAddress=127.0.0.1",
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location=/tls/server.pem",
        "ssl.keyStore.password=hunter2",
        "ssl.keyStore.type=PEM",
        "zookeeper.ssl.trustStore.location=/tls/ca.pem",
        "ssl.trustStore.password=hunter3",
        "ssl.clientAuth=WANT",
        "ssl.enabledProtocols=TLSv1.3",
        "ssl.ciphersuites=TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256",
        "ssl.crl=false",
        "ssl.hostnameVerification=true",
        "client.certReload=true",
        f"authProvider.1={PROVIDERS}.SASLAuthenticationProvider",
        f"authProvider.x509={PROVIDERS}.X509AuthenticationProvider",
        "X509AuthenticationProvider.superUser=CN=admin,O=zk",
        "superUser=alice",
        "superUser.2=bob",
        "java.security.auth.login.config=/tls/jaas.conf",
        "allowSaslFailedClients=true",
        "jaasLoginRenew=3600000",
        "enforce.auth.enabled=true",
        "enforce.auth.schemes=x509, sasl",
    )

    assert warnings == []
    assert (config.client_port, config.secure_client_port, config.secure_client_host) == (2181, 2281, "127.0.0.1")
    assert config.speaks_tls
    assert config.tls_certificate_file == Path("/tls/server.pem")
    assert config.tls_ca_file == Path("/tls/ca.pem")
    assert (config.tls_key_password, config.tls_client_auth) == ("hunter2", ClientAuth.WANT)
    assert config.tls_protocols == {TLS_1_3}
    assert config.tls_ciphers == ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
    assert config.auth_providers == {"sasl", "x509"}
    assert config.x509_super_user == "CN=admin,O=zk"
    assert config.sasl_super_users == {"alice", "bob"}
    assert (config.sasl_users_file, config.allow_sasl_failed) == (Path("/tls/jaas.conf"), True)
    assert (config.enforce_auth, config.enforce_auth_schemes) == (True, {"x509", "sasl"})
    assert "hunter" not in repr(config)


def test_providers_go_by_their_schemes_too(tmp_path: Path) -> None:
    assert load_lines(tmp_path, "auth_providers=sasl, x509")[0].auth_providers == {"sasl", "x509"}


def test_a_server_that_is_only_told_of_a_secure_port_has_no_plain_one(tmp_path: Path) -> None:
    assert load_lines(tmp_path, "secureClientPort=2281")[0].client_port is None
    assert load_lines(tmp_path, "server.1=a:2888:3888;;2281")[0].client_port is None
    assert load_lines(tmp_path)[0].client_port == 2181


def test_a_server_line_may_name_a_secure_port(tmp_path: Path) -> None:
    config, _ = load_lines(tmp_path, "server.1=a:2888:3888;2181;127.0.0.1:2281")

    assert (config.client_port, config.secure_client_host, config.secure_client_port) == (2181, "127.0.0.1", 2281)


@pytest.mark.parametrize(
    ("lines", "versions"),
    [
        ([], {TLS_1_2, TLS_1_3}),
        (["ssl.protocol=TLSv1.2"], {TLS_1_2}),
        (["ssl.protocol=TLS"], {TLS_1_2, TLS_1_3}),
        (["ssl.protocol=TLSv1.2", "ssl.enabledProtocols=TLSv1.3,TLSv1.2"], {TLS_1_2, TLS_1_3}),
    ],
)
def test_enabled_protocols_win_over_the_protocol(
    tmp_path: Path, lines: list[str], versions: set[ssl.TLSVersion]
) -> None:
    assert load_lines(tmp_path, *lines)[0].tls_protocols == versions


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ssl.clientAuth=maybe", "give need, want or none"),
        ("ssl.enabledProtocols=TLSv1.1,TLSv1.2", "give TLSv1.2, TLSv1.3 or both with a comma between them"),
        ("ssl.protocol=SSLv3", "give TLSv1.2, TLSv1.3 or both"),
        ("ssl.keyStore.location=", "give the path of a file"),
        ("auth_providers=kerberos", "give digest, ip, sasl or x509"),
    ],
)
def test_values_without_sense_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_lines(tmp_path, line)
    assert complaint in str(caught.value)


def test_files_for_tls_without_a_port_for_it_are_warned_of(tmp_path: Path) -> None:
    _, [warning] = load_lines(tmp_path, "ssl.keyStore.password=hunter2", "ssl.trustStore.location=/tls/ca.pem")

    assert "there is no secureClientPort, so nothing is encrypted" in warning
    assert "hunter2" not in warning


def test_secrets_stay_out_of_complaints(tmp_path: Path) -> None:
    for line in ("ssl.keyStore.password=", "SASLAuthenticationProvider.superPassword="):
        with pytest.raises(ConfigError) as caught:
            load_lines(tmp_path, line)
        assert str(caught.value).endswith(f"{line[:-1]}: give a password")
