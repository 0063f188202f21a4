"""Where clients come in: the sockets that a Config asks for, and how people are told of them."""

from __future__ import annotations

from typing import NamedTuple

from zkstore.errors import ConfigError
from zkstore.net.listeners import Encryption, Listener, listen
from zkstore.server.config import Config

Address = tuple[str, int]


class Ports(NamedTuple):
    """What is listened on. `plain` and `secure` are host and port, None where there is none."""

    listeners: list[Listener]
    plain: Address | None
    secure: Address | None

    def __str__(self) -> str:
        if self.plain is None:
            assert self.secure is not None, "a server that listens nowhere"
            return f"with TLS at {_text(self.secure)}"
        text = f"at {_text(self.plain)}"
        return text if self.secure is None else f"{text}, with TLS at {_text(self.secure)}"


def open_ports(config: Config) -> Ports:
    """Listen. Raises ConfigError, and listens nowhere then."""
    plain = secure = None
    listeners: list[Listener] = []
    if config.client_port is not None:
        encryption = Encryption.EITHER if config.port_unification else Encryption.NONE
        listeners += _listen(config, config.client_host, config.client_port, encryption)
        plain = _address(listeners[-1])
    if config.secure_client_port is not None:
        try:
            listeners += _listen(config, config.secure_client_host, config.secure_client_port, Encryption.TLS)
        except ConfigError:
            for listener in listeners:
                listener.socket.close()
            raise
        secure = _address(listeners[-1])
    return Ports(listeners, plain, secure)


def _listen(config: Config, host: str, port: int, encryption: Encryption) -> list[Listener]:
    try:
        return listen(host, port, config.listen_backlog, encryption)
    except OSError as error:
        key = "secureClientPort" if encryption is Encryption.TLS else "clientPort"
        flag = "--secure-client-port" if encryption is Encryption.TLS else "--client-port"
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}."
            f" Is another server running there? Choose another {key} ({flag}; 0 picks a free one)"
        ) from error


def _address(listener: Listener) -> Address:
    host, port, *_ = listener.socket.getsockname()
    return host, port


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
