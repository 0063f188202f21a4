"""What a server is told, from every source."""

from dataclasses import replace
from pathlib import Path

import pytest

from zkstore import limits
from zkstore.errors import ConfigError
from zkstore.replica.throttle import RequestLimits
from zkstore.server import throttles
from zkstore.server.config import Config, load
from zkstore.server.settings import ENSEMBLE_FIELDS, SETTINGS


def zoo_cfg(directory: Path, *lines: str, name: str = "zoo.cfg") -> Path:
    path = directory / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load_lines(directory: Path, *lines: str) -> tuple[Config, list[str]]:
    return load(zoo_cfg(directory, "dataDir=/srv/zk", *lines), {}, {})


def refusal(directory: Path, *lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_lines(directory, *lines)
    return str(caught.value).replace(str(directory), "")


def test_told_nothing_a_server_has_the_defaults() -> None:
    assert load(None, {}, {}) == (Config(), [])
    assert Config().data_dir == Path("data")
    assert (Config().session_timeout_ms_min, Config().session_timeout_ms_max) == (4_000, 40_000)


def test_every_setting_is_a_field_but_for_one_that_adds_to_another_and_those_of_members() -> None:
    fields = set(Config.__dataclass_fields__) - {"ensemble"}

    assert fields == {setting.field for setting in SETTINGS} - {"tls_protocol"} - ENSEMBLE_FIELDS


def test_a_zoo_cfg_as_people_have_it_is_taken_without_a_word(tmp_path: Path) -> None:
    config, warnings = load_lines(
        tmp_path,
        "dataLogDir=/log",
        "clientPort=2182",
        "clientPortAddress=127.0.0.1",
        "clientPortListenBacklog=100",
        "tickTime=3000",
        "initLimit=10",
        "syncLimit=5",
        "maxClientCnxns=0",
        "maxCnxns=500",
        "maxSessionTimeout=-1",
        "autopurge.snapRetainCount=5",
        "autopurge.purgeInterval=24",
        "electionAlg=3",
        "preAllocSize=65536",
        "forceSync=yes",
        "serverCnxnFactory=org.apache.zookeeper.server.NIOServerCnxnFactory",
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        "admin.enableServer=true",
        "zookeeper.snapCount=5000",
        "jute.maxbuffer=0x1fffff",
        "4lw.commands.whitelist=stat, ruok , *",
    )

    assert warnings == []
    assert config == Config(
        data_dir=Path("/srv/zk"),
        data_log_dir=Path("/log"),
        client_port=2182,
        client_host="127.0.0.1",
        listen_backlog=100,
        tick_ms=3_000,
        session_timeout_ms_min=6_000,
        session_timeout_ms_max=60_000,
        connections_per_address_max=0,
        connections_max=500,
        snapshots_kept=5,
        checkpoint_txns=5_000,
        frame_bytes_max=0x1FFFFF,
        four_letter_words=frozenset({"srvr", "stat", "ruok", "*"}),
    )


def test_flags_win_over_variables_over_the_images_variables_over_the_file(tmp_path: Path) -> None:
    path = zoo_cfg(tmp_path, "dataDir=/file", "tickTime=1000", "maxClientCnxns=1", "clientPort=1")
    image = {"ZOO_DATA_DIR": "/image", "ZOO_TICK_TIME": "2000", "ZOO_MAX_CLIENT_CNXNS": "2"}
    own = {"ZKSTORE_DATA_DIR": "/own", "ZKSTORE_TICK_MS": "3000"}

    config, warnings = load(path, {"data_dir": "/flag"}, {**image, **own})

    assert warnings == []
    assert config.data_dir == Path("/flag")
    assert (config.tick_ms, config.connections_per_address_max, config.client_port) == (3_000, 2, 1)


def test_the_container_images_variables_are_understood() -> None:
    config, warnings = load(
        None,
        {},
        {
            "ZOO_MY_ID": "1",
            "ZOO_SERVERS": "server.1=localhost:2888:3888;2185",
            "ZOO_DATA_LOG_DIR": "/datalog",
            "ZOO_AUTOPURGE_PURGEINTERVAL": "0",
            "ZOO_STANDALONE_ENABLED": "false",
            "ZOO_4LW_COMMANDS_WHITELIST": "ruok",
            "ZOO_TICK_TIME": "",
            "ZOO_CFG_EXTRA": "maxCnxns=7 readonlymode.enabled=true",
        },
    )

    assert warnings == []
    assert (config.client_port, config.connections_max, config.tick_ms) == (2185, 7, limits.TICK_MS)
    assert config.data_log_dir == Path("/datalog")
    assert config.four_letter_words == {"srvr", "ruok", "isro"}


def test_the_images_directory_is_looked_into_when_no_file_is_named(tmp_path: Path) -> None:
    assert load(None, {}, {"ZOO_CONF_DIR": str(tmp_path)}) == (Config(), [])

    zoo_cfg(tmp_path, "dataDir=/srv", "clientPort=2190")

    config, _ = load(None, {}, {"ZOO_CONF_DIR": str(tmp_path)})
    assert config.client_port == 2190


def test_toml_takes_either_name_and_its_own_types(tmp_path: Path) -> None:
    path = zoo_cfg(
        tmp_path,
        'data_dir = "/srv/zk"',
        "client_port = 0",
        "autopurge.snapRetainCount = 4",
        "extended_types = false",
        'four_letter_words = ["ruok", "mntr"]',
        'history_bytes_max = "2G"',
        "[zkstore]",
        'memoryBytesMax = "512 MiB"',
        name="zkstore.toml",
    )

    config, warnings = load(path, {}, {})

    assert warnings == []
    assert (config.client_port, config.snapshots_kept, config.extended_types) == (0, 4, False)
    assert (config.history_bytes_max, config.memory_bytes_max) == (2 << 30, 512 << 20)
    assert config.four_letter_words == {"srvr", "ruok", "mntr"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("tickTime=fast", "tickTime=fast: give a whole number from 1 to 2147483647"),
        ("tickTime=0", "tickTime=0: give a whole number from 1 to 2147483647"),
        ("tickTime=-5", "tickTime=-5: give a whole number from 1 to 2147483647"),
        ("clientPort=65536", "clientPort=65536: give a whole number from 0 to 65535"),
        ("clientPort=", "clientPort=: give a whole number from 0 to 65535"),
        ("clientPort=1_0", "clientPort=1_0: give a whole number from 0 to 65535"),
        (
            "minSessionTimeout=-2",
            "minSessionTimeout=-2: give a whole number from 1 to 2147483647, or -1 for the default",
        ),
        ("extendedTypesEnabled=on", "extendedTypesEnabled=on: give true or false"),
        ("skipACL=maybe", "skipACL=maybe: give yes or no"),
        ("clientPortAddress=a b", "clientPortAddress=a b: give a host name or an address"),
        ("zkstore.historyBytesMax=0", "zkstore.historyBytesMax=0: give a number of bytes above 0"),
        ("zkstore.historyBytesMax=1.5G", "zkstore.historyBytesMax=1.5G: give a number of bytes above 0"),
        ("zkstore.logLevel=loud", "zkstore.logLevel=loud: give debug, info, warning or error"),
        ("jute.maxbuffer=2000000000", "jute.maxbuffer=2000000000: give a whole number from 64 to 1073741824"),
        ("dataLogDir=", "dataLogDir=: give the path of a directory"),
        (
            "connection_throttle_drop_increase=1.1",
            "connection_throttle_drop_increase=1.1: give a number from 0 to 1, such as 0.02",
        ),
        ("connection_throttle_decrease_ratio=", "connection_throttle_decrease_ratio=: give a number from 0 to 1"),
        ("request_throttle_max_requests=-1", "request_throttle_max_requests=-1: give a whole number from 0"),
    ],
)
def test_a_value_without_sense_is_named_with_its_place_and_with_what_would_do(
    tmp_path: Path, line: str, complaint: str
) -> None:
    assert refusal(tmp_path, line).startswith(f"/zoo.cfg:2: {complaint}")


def test_a_complaint_about_a_flag_or_a_variable_names_it() -> None:
    with pytest.raises(ConfigError, match=r"^--client-port=x: give a whole number"):
        load(None, {"client_port": "x"}, {})
    with pytest.raises(ConfigError, match=r"^ZKSTORE_CLIENT_PORT=x: give a whole number"):
        load(None, {}, {"ZKSTORE_CLIENT_PORT": "x"})
    with pytest.raises(ConfigError, match=r"^ZOO_CFG_EXTRA: snapCount=1: give a whole number"):
        load(None, {}, {"ZOO_CFG_EXTRA": "snapCount=1"})
    with pytest.raises(ConfigError, match=r"^ZOO_CFG_EXTRA: debug is no setting"):
        load(None, {}, {"ZOO_CFG_EXTRA": "debug"})


def test_session_timeouts_that_let_nothing_through_are_refused(tmp_path: Path) -> None:
    assert "shortest session timeout (9000 ms) is above the longest (8000 ms)" in refusal(
        tmp_path, "minSessionTimeout=9000", "maxSessionTimeout=8000"
    )
    assert "shortest session timeout (4000 ms) is above the longest (50 ms)" in refusal(
        tmp_path, "maxSessionTimeout=50"
    )
    assert "too long for clients" in refusal(tmp_path, "tickTime=2000000000")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ssl.crl=true", "give a list of revoked certificates"),
        ("ssl.ocsp=true", "give a list of revoked certificates"),
        ("ssl.clientHostnameVerification=true", "identities are the subjects of certificates"),
        ("ssl.authProvider=mine", "identities are the subjects of certificates"),
        ("ssl.context.supplier.class=org.example.Supplier", "it may be meant to protect"),
        ("X509AuthenticationProvider.clientCertIdType=SAN", "identities are the subjects of certificates"),
        ("requireClientAuthScheme=sasl", "give sessionRequireClientSASLAuth=true"),
        ("DigestAuthenticationProvider.digestAlg=SHA3-256", "digests are SHA1"),
        ("DigestAuthenticationProvider.enabled=false", "cannot be switched off"),
        ("peerType=observer", "stands alone"),
        ("server.1=a:2888:3888:observer;2181", "is a participant"),
        ("server.1=a", "give host:peerPort:electionPort[:role];[clientHost:]clientPort"),
        ("server.1=a:2888:2888", "give two different ones"),
        ("server.1=a:2888:3888;x:y", "give host:peerPort:electionPort[:role];[clientHost:]clientPort"),
        ("server.1=a:2888:3888;2181;x:y", "give host:peerPort:electionPort[:role];[clientHost:]clientPort"),
    ],
)
def test_what_would_be_unsafe_to_leave_out_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    complaint = refusal(tmp_path, line)

    assert complaint.startswith("/zoo.cfg:2: ")
    assert reason in complaint


def test_what_is_asked_for_without_being_asked_for_is_fine(tmp_path: Path) -> None:
    _, warnings = load_lines(
        tmp_path,
        "client.portUnification=false",
        "sessionRequireClientSASLAuth=false",
        "enforce.auth.enabled=False",
        "peerType=participant",
        "audit.enable=false",
        "ssl.quorum.clientAuth=need",
    )

    assert warnings == []


def test_passwords_and_digests_stay_out_of_messages(tmp_path: Path) -> None:
    config, warnings = load_lines(
        tmp_path, "ssl.keyStore.password=hunter2", "SASLAuthenticationProvider.superPassword=hunter2"
    )
    assert "hunter2" not in f"{config!r} {warnings}"
    assert "hunter2" not in refusal(tmp_path, "DigestAuthenticationProvider.superDigest=hunter2")
    assert "hunter2" not in refusal(tmp_path, "zookeeper.DigestAuthenticationProvider.superDigest=hunter2")

    config, _ = load_lines(tmp_path, "DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=")

    assert config.super_digest == "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
    assert "D/InIHSb7y" not in repr(config)


def test_the_only_server_line_says_where_to_listen(tmp_path: Path) -> None:
    for client, host, port in [
        (";2185", "0.0.0.0", 2185),
        (";127.0.0.1:2186", "127.0.0.1", 2186),
        (";[::1]:2187", "::1", 2187),
        ("", "0.0.0.0", 2181),
    ]:
        config, warnings = load_lines(tmp_path, f"server.3=[fd00::1]:2888:3888:participant{client}")
        assert (config.client_host, config.client_port, warnings) == (host, port, [])


def test_a_server_line_must_not_contradict_the_client_port(tmp_path: Path) -> None:
    assert load_lines(tmp_path, "clientPort=2185", "server.1=a:2888:3888;2185")[0].client_port == 2185
    for stated in ("clientPort=2184", "client_port=2184", "clientPortAddress=127.0.0.1"):
        assert f"{stated}: " in refusal(tmp_path, stated, "server.1=a:2888:3888;0.0.0.0:2185")


def test_a_server_line_without_a_client_host_leaves_the_address_alone(tmp_path: Path) -> None:
    config, _ = load_lines(tmp_path, "clientPortAddress=127.0.0.1", "server.1=a:2888:3888;2185")

    assert (config.client_host, config.client_port) == ("127.0.0.1", 2185)


def test_unknown_settings_are_warned_of_with_the_likely_one(tmp_path: Path) -> None:
    path = zoo_cfg(tmp_path, "dataDir=/srv", "ticktime=2000", "snapCuont=5", "whatever=1")

    _, warnings = load(path, {}, {"ZKSTORE_CLIENTPORT": "2181"})

    assert [line.replace(str(tmp_path), "") for line in warnings] == [
        "/zoo.cfg:2: ticktime: unknown setting, ignored; did you mean tickTime?",
        "/zoo.cfg:3: snapCuont: unknown setting, ignored; did you mean snapCount?",
        "/zoo.cfg:4: whatever: unknown setting, ignored",
        "ZKSTORE_CLIENTPORT: unknown setting, ignored; did you mean ZKSTORE_CLIENT_PORT?",
    ]


def test_a_server_alone_says_that_it_has_no_local_sessions(tmp_path: Path) -> None:
    config, warnings = load_lines(tmp_path, "localSessionsEnabled=true", "localSessionsUpgradingEnabled=true")
    assert config.local_sessions and config.local_sessions_upgrading
    assert len(warnings) == 1
    assert "localSessionsEnabled=true: a server alone has no local sessions" in warnings[0]


def test_throttling_is_told_by_zookeepers_keys(tmp_path: Path) -> None:
    config, warnings = load_lines(
        tmp_path,
        "connection_throttle_tokens=10",
        "connection_throttle_fill_time=100",
        "connection_throttle_fill_count=2",
        "connection_throttle_freeze_time=50",
        "connection_throttle_drop_increase=0.1",
        "connection_throttle_drop_decrease=.01",
        "connection_throttle_decrease_ratio=1",
        "connection_throttle_weight_enabled=true",
        "connection_throttle_global_session_weight=5",
        "connection_throttle_renew_session_weight=4",
        "connection_throttle_local_session_weight=1",
        "zookeeper.request_throttle_max_requests=20000",
        "request_throttle_stall_time=100",
        "request_throttle_drop_stale=true",
        "request_stale_latency_check=true",
        "request_stale_connection_check=true",
        "request_throttler.shutdownTimeout=10000",
        "throttled_op_wait_time=3000",
    )
    assert warnings == []
    assert throttles.requests(config) == RequestLimits(20_000, wait_ms_max=3_000, drops_stale=True)
    blue = (config.throttle_freeze_ms, config.throttle_drop_increase, config.throttle_drop_decrease)
    assert (*blue, config.throttle_decrease_ratio) == (50, 0.1, 0.01, 1.0)
    bucket = throttles.connections(replace(config, throttle_freeze_ms=None))
    assert [bucket.take(0, is_renewed=True) for _ in range(13)] == [True] * 12 + [False]
    bucket = throttles.connections(replace(config, throttle_freeze_ms=None))
    assert [bucket.take(0, is_local=True) for _ in range(51)] == [True] * 50 + [False]


def test_by_default_nothing_is_throttled_and_stale_requests_are_dropped_only_where_age_counts() -> None:
    assert throttles.requests(Config()) is None
    assert throttles.requests(Config(requests_max=5)) == RequestLimits(5)
    assert throttles.requests(Config(requests_max=5, check_request_age=True)) == RequestLimits(5, drops_stale=True)
    assert throttles.requests(Config(requests_max=5, check_request_age=True, drop_stale_requests=False)) == (
        RequestLimits(5)
    )
    bucket = throttles.connections(Config(throttle_tokens=1))
    assert [bucket.take(0), bucket.take(0)] == [True, False]
    assert throttles.connections(Config(throttle_tokens=1, throttle_freeze_ms=0)).take(0)


def test_what_people_would_miss_is_warned_of(tmp_path: Path) -> None:
    _, warnings = load_lines(
        tmp_path,
        "forceSync=no",
        "audit.enable=true",
        "authProvider.1=org.example.Provider",
        "request_stale_connection_check=false",
        "skipACL=yes",
        "throttled_op_wait_time=5",
    )

    assert [line.replace(str(tmp_path), "") for line in warnings] == [
        "/zoo.cfg:2: forceSync=no: zkstore always syncs before it answers a write",
        "/zoo.cfg:3: audit.enable=true: there is no audit log",
        "/zoo.cfg:4: authProvider.1=org.example.Provider: not loaded; identities are ip, digest, x509 and sasl",
        "/zoo.cfg:5: request_stale_connection_check=false: requests that wait are dropped with their connection",
        "/zoo.cfg:7: throttled_op_wait_time: without request_throttle_max_requests no request waits",
        "/zoo.cfg:6: skipACL=yes: ACLs are not checked",
    ]


def test_a_file_without_a_data_directory_gets_the_default_and_a_warning(tmp_path: Path) -> None:
    config, [warning] = load(zoo_cfg(tmp_path, "clientPort=2181"), {}, {})

    assert config.data_dir == Path("data")
    assert "no dataDir; using " in warning


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.cfg").write_bytes(b"dataDir=/srv/\xe9")
    (tmp_path / "broken.toml").write_text("tick_ms = \n")
    (tmp_path / "odd.toml").write_text("tick_ms = 1.5")
    for name, complaint in [
        ("missing.cfg", "no such file"),
        ("", "a directory, not a file"),
        ("latin.cfg", "byte 13 is not UTF-8"),
        ("latin.cfg/zoo.cfg", "cannot be read (Not a directory)"),
        ("broken.toml", "not TOML: Invalid value (at line 1"),
        ("odd.toml", "tick_ms: give a string, a whole number"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name, {}, {})
        assert complaint in str(caught.value)
        assert str(tmp_path) in str(caught.value)
