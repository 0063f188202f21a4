"""TLS for the shell: flags of our own, or a file of properties as zkCli.sh takes it, made into a context."""

from __future__ import annotations

import argparse
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

from zkstore.errors import ConfigError
from zkstore.server import properties


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What was asked for. Without `ca_file` the system's authorities are trusted."""

    is_on: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    checks_host: bool = True


def from_properties(path: Path) -> TlsOptions:
    """The options in a file for zkCli.sh's `-client-configuration`; what is not about TLS is passed over.

    Raises:
        ConfigError: it cannot be read or does not parse.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the path of a file of properties") from None
    given = {key.removeprefix("zookeeper."): value for key, value, _ in properties.parse(text, str(path))}
    password = given.get("ssl.keyStore.password")
    if "ssl.keyStore.passwordPath" in given:
        password = _first_line(Path(given["ssl.keyStore.passwordPath"]))
    return TlsOptions(
        is_on=given.get("client.secure", "").lower() == "true",
        ca_file=_path(given.get("ssl.trustStore.location")),
        certificate_file=_path(given.get("ssl.keyStore.location")),
        key_password=password,
        checks_host=given.get("ssl.hostnameVerification", "true").lower() == "true",
    )


def with_flags(
    options: TlsOptions, *, tls: bool, ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
) -> TlsOptions:
    """`options` with what the flags say; naming a file asks for TLS."""
    return replace(
        options,
        is_on=options.is_on or tls or any((ca_file, certificate_file, key_file)),
        ca_file=ca_file or options.ca_file,
        certificate_file=certificate_file or options.certificate_file,
        key_file=key_file or options.key_file,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `from_arguments` reads."""
    parser.add_argument("--tls", action="store_true", help="connect by TLS; so does each of the next four")
    parser.add_argument("--ca", metavar="FILE", type=Path, help="PEM file of the authorities to trust")
    parser.add_argument("--cert", metavar="FILE", type=Path, help="PEM file of our certificate, and of its key")
    parser.add_argument("--key", metavar="FILE", type=Path, help="PEM file of the key, where it is in one of its own")
    parser.add_argument(
        "-client-configuration",
        "--client-configuration",
        metavar="FILE",
        dest="properties",
        type=Path,
        help="a file of properties: zookeeper.client.secure, zookeeper.ssl.*",
    )


def from_arguments(options: argparse.Namespace) -> TlsOptions:
    """What was asked for. Raises ConfigError."""
    given = TlsOptions() if options.properties is None else from_properties(options.properties)
    return with_flags(given, tls=options.tls, ca_file=options.ca, certificate_file=options.cert, key_file=options.key)


def make_context(options: TlsOptions) -> ssl.SSLContext | None:
    """None if no TLS was asked for. Raises ConfigError where a file does not fit."""
    if not options.is_on:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise ConfigError(
            f"{options.ca_file}: no certificates of authorities ({_why(error)}); give a PEM file"
        ) from None
    if not options.checks_host:
        context.check_hostname = False
    if options.certificate_file is not None:
        try:
            # Without a password OpenSSL would ask at the terminal, which is as it should be.
            context.load_cert_chain(options.certificate_file, options.key_file, options.key_password)
        except (OSError, ValueError) as error:
            files = " and ".join(str(path) for path in (options.certificate_file, options.key_file) if path)
            raise ConfigError(
                f"{files}: no certificate with its private key ({_why(error)}); give PEM files that belong together"
            ) from None
    elif options.key_file is not None:
        raise ConfigError(f"{options.key_file}: a key proves nothing without its certificate; give --cert, too")
    return context


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the password cannot be read ({error})") from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
