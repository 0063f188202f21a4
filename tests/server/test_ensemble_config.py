"""What a member of an ensemble is told, from every source."""

import ssl
from pathlib import Path

import pytest

from zkstore.errors import ConfigError
from zkstore.net.certificates import PEERS_NAMES
from zkstore.net.listeners import Encryption
from zkstore.server.config import Config, load
from zkstore.server.ensemble_config import FRAME_BYTES_MAX, EnsembleConfig
from zkstore.zab import membership

THREE = ("server.1=zk1:2888:3888;2181", "server.2=zk2:2888:3888;2182", "server.3=zk3:2888:3888;2183")


def write_cfg(directory: Path, *lines: str, my_id: str | None = "2") -> Path:
    if my_id is not None:
        (directory / "myid").write_text(my_id, encoding="utf-8")
    path = directory / "zoo.cfg"
    path.write_text("\n".join((f"dataDir={directory}", *lines)) + "\n", encoding="utf-8")
    return path


def load_lines(directory: Path, *lines: str, my_id: str | None = "2") -> tuple[Config, list[str]]:
    return load(write_cfg(directory, *lines, my_id=my_id), {}, {})


def ensemble_of(directory: Path, *lines: str) -> EnsembleConfig:
    config, warnings = load_lines(directory, *lines)
    assert warnings == []
    assert config.ensemble is not None
    return config.ensemble


def refusal(directory: Path, *lines: str, my_id: str | None = "2") -> str:
    with pytest.raises(ConfigError) as caught:
        load_lines(directory, *lines, my_id=my_id)
    return str(caught.value).replace(str(directory), "")


def test_three_server_lines_make_a_member_of_an_ensemble(tmp_path: Path) -> None:
    config, warnings = load_lines(tmp_path, "initLimit=7", "syncLimit=3", "electionAlg=3", *THREE, my_id=" 2\n")

    assert warnings == []
    assert config.client_port == 2182
    assert config.ensemble == EnsembleConfig(2, membership.parse("\n".join(THREE)), init_limit=7, sync_limit=3)
    assert config.ensemble.me.addresses == (("zk2", 2888, 3888),)


def test_a_server_without_lines_stands_alone(tmp_path: Path) -> None:
    assert load_lines(tmp_path, "standaloneEnabled=false")[0].ensemble is None
    assert load_lines(tmp_path, THREE[0], my_id=None)[0].ensemble is None
    assert load_lines(tmp_path, THREE[0], "group.1=1", "weight.1=1")[0].ensemble is None


def test_one_line_makes_an_ensemble_where_standing_alone_is_switched_off(tmp_path: Path) -> None:
    ensemble = ensemble_of(tmp_path, "standaloneEnabled=false", THREE[1])

    assert ensemble.membership.voters == {2}


def test_groups_weights_and_observers_are_read(tmp_path: Path) -> None:
    ensemble = ensemble_of(
        tmp_path, *THREE, "server.4=zk4:2888:3888:observer", "group.1=1:2:3", "weight.1=0", "peerType=participant"
    )

    assert (ensemble.membership.voters, ensemble.membership.observers) == ({1, 2, 3}, {4})
    assert ensemble.membership.weights == ((1, 0), (2, 1), (3, 1))


def test_the_container_image_says_who_is_who_by_variables(tmp_path: Path) -> None:
    environ = {"ZOO_MY_ID": "3", "ZOO_SERVERS": " ".join(THREE), "ZOO_DATA_DIR": str(tmp_path), "ZOO_INIT_LIMIT": "4"}

    config, warnings = load(None, {}, environ)

    assert config.ensemble is not None
    assert (config.ensemble.server_id, config.ensemble.init_limit, config.client_port) == (3, 4, 2183)
    assert warnings == []


def test_the_lines_of_one_source_count_and_flags_still_say_where_to_listen(tmp_path: Path) -> None:
    path = write_cfg(tmp_path, "server.9=old:2888:3888;2189")
    environ = {"ZOO_SERVERS": " ".join(THREE)}

    config, _ = load(path, {"client_port": "2200", "my_id": "2"}, environ)

    assert config.ensemble is not None
    assert config.ensemble.membership.voters == {1, 2, 3}
    assert config.client_port == 2200


def test_toml_tables_name_servers_too(tmp_path: Path) -> None:
    path = tmp_path / "zk.toml"
    lines = "\n".join(line.replace("=", '="', 1).partition(".")[2] + '"' for line in THREE)
    path.write_text(f'data_dir = "{tmp_path}"\nmy_id = 1\n[server]\n{lines}\n', encoding="utf-8")

    config, warnings = load(path, {}, {})

    assert config.ensemble is not None
    assert (config.ensemble.server_id, config.ensemble.membership.voters) == (1, {1, 2, 3})
    assert warnings == []


def test_members_may_stand_in_a_file_of_their_own_whose_version_does_not_count(tmp_path: Path) -> None:
    dynamic = tmp_path / "zoo.cfg.dynamic.100000000"
    dynamic.write_text("\n".join((*THREE, "version=100000000")), encoding="utf-8")

    config, _ = load_lines(tmp_path, f"dynamicConfigFile={dynamic}", "clientPort=2182")

    assert config.ensemble is not None
    assert (config.ensemble.membership.voters, config.ensemble.membership.version) == ({1, 2, 3}, 0)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (THREE[:1], "dynamicConfigFile names a file of such lines; leave one of them out"),
        ((), "there is no server.7"),
    ],
)
def test_a_file_of_members_must_fit_the_rest(tmp_path: Path, lines: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "dynamic").write_text("\n".join(THREE), encoding="utf-8")

    assert complaint in refusal(tmp_path, f"dynamicConfigFile={tmp_path}/dynamic", *lines, my_id="7")


def test_a_file_of_members_names_members_only(tmp_path: Path) -> None:
    (tmp_path / "dynamic").write_text("clientPort=2181", encoding="utf-8")
    assert refusal(tmp_path, f"dynamicConfigFile={tmp_path}/dynamic").startswith(
        "/dynamic:1: clientPort: only server.N"
    )

    (tmp_path / "dynamic").write_text("weight.1=1", encoding="utf-8")
    assert "/dynamic names no server" in refusal(tmp_path, f"dynamicConfigFile={tmp_path}/dynamic")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ((*THREE, "server.3=zk4:2888:3888"), "/zoo.cfg:5: server.3: a second server.3"),
        ((*THREE, "server.4=zk1:2888:3889"), "/zoo.cfg: server.1 and server.4 both use zk1:2888"),
        ((*THREE, "server.300=zk4:2888:3888"), "/zoo.cfg:5: server.300: 'server.300' needs a number from 0 to 255"),
        (
            (*THREE, "server.4=0.0.0.0:2888:3888"),
            "/zoo.cfg:5: server.4: other servers cannot reach server 4 at 0.0.0.0",
        ),
        ((*THREE, "server.4=[::]:2888:3888"), "give its name or address, the same on all servers"),
        ((*THREE, "server.4=zk4:2888"), "/zoo.cfg:5: server.4: 'zk4:2888' does not name a server"),
        ((*THREE, "weight.1=2"), "/zoo.cfg: weights count in groups only"),
        ((*THREE, "group.1=1:2"), "/zoo.cfg: server 3 votes and is in no group"),
        (("server.1=a:1:2:observer", "server.2=b:1:2:observer"), "/zoo.cfg: no server votes"),
        ((*THREE, "initLimit=0"), "/zoo.cfg:5: initLimit=0: give a whole number from 1"),
        ((*THREE, "electionAlg=0"), "/zoo.cfg:5: electionAlg=0: there is one way to elect"),
        ((*THREE, "quorum.auth.enableSasl=true"), "give sslQuorum=true"),
        ((*THREE, "ssl.quorum.context.supplier.class=x"), "it may be meant to protect"),
        ((*THREE, "sslQuorum=true"), "sslQuorum and portUnification need ssl.quorum.keyStore.location"),
        ((*THREE, "portUnification=true", "ssl.quorum.keyStore.location=/a"), "need ssl.quorum.trustStore.location"),
        ((*THREE, f"jute.maxbuffer={FRAME_BYTES_MAX + 1}"), f"give at most {FRAME_BYTES_MAX} in an ensemble"),
        ((*THREE, "clientPort=2181"), "/zoo.cfg:5: clientPort=2181: /zoo.cfg:3: server.2 says 2182"),
    ],
)
def test_what_makes_no_ensemble_is_named_with_its_line(tmp_path: Path, lines: tuple[str, ...], complaint: str) -> None:
    assert complaint in refusal(tmp_path, *lines)


def test_a_member_must_know_who_it_is(tmp_path: Path) -> None:
    missing = refusal(tmp_path, *THREE, my_id=None)
    assert missing.startswith("/myid: no such file")
    assert "--my-id" in missing
    for text in ("two", "", "-1", "256", "1 2", "٣"):
        assert "is no server's number" in refusal(tmp_path, *THREE, my_id=text)
    assert refusal(tmp_path, *THREE, my_id="4") == (
        "/zoo.cfg: there is no server.4, which this server is; there are 1, 2, 3"
    )


def test_a_member_must_not_use_the_data_of_another_one(tmp_path: Path) -> None:
    path = write_cfg(tmp_path, *THREE)

    with pytest.raises(ConfigError, match=r"ZOO_MY_ID=3: .*belongs to server 2"):
        load(path, {}, {"ZOO_MY_ID": "3"})

    assert load(path, {"my_id": "2"}, {"ZOO_MY_ID": "3"})[0].ensemble is not None


def test_a_file_myid_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "myid").mkdir()

    assert refusal(tmp_path, *THREE, my_id=None).startswith("/myid: cannot be read (")


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (THREE[:2], "with two voters no server's failure is tolerated; make it three"),
        ((*THREE, "server.4=zk4:2888:3888"), "4 voters tolerate as few failures as 3 would, 1; make the number odd"),
        ((*THREE, "peerType=observer"), "peerType=observer: server.2 says participant, and that counts"),
        ((*THREE, "leaderServes=no"), "leaderServes=no: the leader serves clients, too"),
        ((*THREE, "ssl.quorum.trustStore.location=/ca"), "without sslQuorum=true nothing is encrypted"),
        ((*THREE, "localSessionsUpgradingEnabled=true"), "without localSessionsEnabled=true no session is local"),
    ],
)
def test_what_a_member_does_not_do_as_asked_is_said(tmp_path: Path, lines: tuple[str, ...], warning: str) -> None:
    config, warnings = load_lines(tmp_path, *lines)

    assert config.ensemble is not None
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_a_member_may_have_local_sessions(tmp_path: Path) -> None:
    config, warnings = load_lines(tmp_path, *THREE, "localSessionsEnabled=true", "localSessionsUpgradingEnabled=TRUE")
    assert warnings == []
    assert config.local_sessions and config.local_sessions_upgrading
    config, _ = load_lines(tmp_path, *THREE)
    assert not config.local_sessions and not config.local_sessions_upgrading


def test_servers_talk_by_tls_where_it_is_asked_for(tmp_path: Path) -> None:
    tls = (
        "ssl.quorum.keyStore.location=/tls/me.pem",
        "ssl.quorum.keyStore.password=secret",
        "ssl.quorum.trustStore.location=/tls/ca.pem",
        "ssl.quorum.protocol=TLSv1.3",
        "ssl.quorum.hostnameVerification=false",
        "ssl.quorum.clientAuth=need",
    )

    ensemble = ensemble_of(tmp_path, *THREE, "sslQuorum=true", *tls)
    assert (ensemble.encryption, ensemble.dials_tls) == (Encryption.TLS, True)
    assert ensemble.tls is not None
    assert ensemble.tls.files == [Path("/tls/me.pem"), Path("/tls/ca.pem")]
    assert (ensemble.tls.versions, ensemble.tls.checks_names) == ({ssl.TLSVersion.TLSv1_3}, False)
    assert ensemble.tls.names is PEERS_NAMES
    assert "secret" not in repr(ensemble)

    changing = ensemble_of(tmp_path, *THREE, "portUnification=true", *tls[:3])
    assert (changing.encryption, changing.dials_tls) == (Encryption.EITHER, False)
    assert changing.tls is not None
    assert changing.tls.checks_names


def test_the_peer_port_is_where_the_own_line_says_or_everywhere(tmp_path: Path) -> None:
    lines = (*THREE[:2], "server.3=a:2888:3888|b:2888:3889")

    here = ensemble_of(tmp_path, *lines)
    everywhere = ensemble_of(tmp_path, *lines, "quorumListenOnAllIPs=true")

    assert here.listen_addresses(here.me) == [("zk2", 2888)]
    assert here.listen_addresses(here.membership.by_id[3]) == [("a", 2888), ("b", 2888)]
    assert everywhere.listen_addresses(everywhere.membership.by_id[3]) == [("0.0.0.0", 2888)]
