"""Where clients come in, and how people are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zkstore.errors import ConfigError
from zkstore.net.listeners import Encryption
from zkstore.server.config import Config
from zkstore.server.ports import Ports, open_ports


def close(ports: Ports) -> None:
    for listener in ports.listeners:
        listener.socket.close()


def here(**ports: Any) -> Config:
    return replace(Config(client_host="127.0.0.1", secure_client_host="127.0.0.1", client_port=0), **ports)


@pytest.mark.parametrize(
    ("config", "encryptions", "text"),
    [
        (here(), [Encryption.NONE], "at 127.0.0.1:{plain}"),
        (here(port_unification=True), [Encryption.EITHER], "at 127.0.0.1:{plain}"),
        (
            here(secure_client_port=0),
            [Encryption.NONE, Encryption.TLS],
            "at 127.0.0.1:{plain}, with TLS at 127.0.0.1:{secure}",
        ),
        (here(client_port=None, secure_client_port=0), [Encryption.TLS], "with TLS at 127.0.0.1:{secure}"),
    ],
)
def test_each_port_has_its_encryption(config: Config, encryptions: list[Encryption], text: str) -> None:
    ports = open_ports(config)
    try:
        assert [listener.encryption for listener in ports.listeners] == encryptions
        plain, secure = ports.plain and ports.plain[1], ports.secure and ports.secure[1]
        assert str(ports) == text.format(plain=plain, secure=secure)
    finally:
        close(ports)


def test_a_port_that_is_taken_is_named_and_the_other_one_given_back() -> None:
    taken = open_ports(here())
    assert taken.plain is not None
    try:
        with pytest.raises(ConfigError, match=r"Choose another secureClientPort \(--secure-client-port") as caught:
            open_ports(here(secure_client_port=taken.plain[1]))
        assert f"cannot listen on 127.0.0.1:{taken.plain[1]}" in str(caught.value)
    finally:
        close(taken)
