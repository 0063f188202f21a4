"""What the server proves itself with and whom it trusts: PEM files made into a TLS context, anew when they change.

Errors name the setting as a zoo.cfg has it, the file, and what would do. A file that is replaced by something that
does not fit changes nothing: those who connect get the certificate that was good, and the log says why.
"""

from __future__ import annotations

import logging
import re
import ssl
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import trio

from zkstore.errors import ConfigError
from zkstore.net.files import LOOK_EVERY_S, FileWatch

logger = logging.getLogger(__name__)

_JKS_MAGIC: Final = bytes.fromhex("feedfeed")
_DER_SEQUENCE: Final = b"\x30"
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_REVOCATIONS: Final = re.compile(rb"-----BEGIN X509 CRL-----")


class SettingNames(NamedTuple):
    """What the settings are called."""

    key_store: str
    key_file: str
    password: str
    password_file: str
    trust_store: str
    crl_file: str
    client_auth: str
    versions: str
    ciphers: str


CLIENTS_NAMES: Final = SettingNames(
    key_store="ssl.keyStore.location",
    key_file="zkstore.tlsKeyFile",
    password="ssl.keyStore.password",
    password_file="ssl.keyStore.passwordPath",
    trust_store="ssl.trustStore.location",
    crl_file="zkstore.tlsCrlFile",
    client_auth="ssl.clientAuth",
    versions="ssl.enabledProtocols",
    ciphers="ssl.ciphersuites",
)
"""Where clients are served."""

PEERS_NAMES: Final = SettingNames(
    key_store="ssl.quorum.keyStore.location",
    key_file="zkstore.quorumTlsKeyFile",
    password="ssl.quorum.keyStore.password",
    password_file="ssl.quorum.keyStore.passwordPath",
    trust_store="ssl.quorum.trustStore.location",
    crl_file="zkstore.quorumTlsCrlFile",
    client_auth="ssl.quorum.clientAuth",
    versions="ssl.quorum.enabledProtocols",
    ciphers="ssl.quorum.ciphersuites",
)
"""Between servers."""


class ClientAuth(Enum):
    """What is asked of clients: a certificate, one if they have it, or nothing."""

    NEED = "need"
    WANT = "want"
    NONE = "none"


_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Where the PEM files are and what may be agreed on.

    Attributes:
        certificate_file: our certificate, then those between it and the root; the private key, too, unless
            `key_file` has it.
        key_password, key_password_file: what opens the private key, or a file that says so; the file wins.
        ca_file: whose certificates clients may have; None trusts nobody.
        crl_file: certificates that were revoked, one list for each authority that issues clients' certificates.
        ciphers: by their standard names (`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`); empty is OpenSSL's choice.
        checks_names: whether a server that is dialled must have a certificate for the name it is dialled by.
        names: what the settings are called, for messages.
    """

    certificate_file: Path
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    key_password_file: Path | None = None
    ca_file: Path | None = None
    crl_file: Path | None = None
    client_auth: ClientAuth = ClientAuth.NEED
    versions: frozenset[ssl.TLSVersion] = frozenset({ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3})
    ciphers: tuple[str, ...] = ()
    checks_names: bool = False
    names: SettingNames = CLIENTS_NAMES

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        every = (self.certificate_file, self.key_file, self.key_password_file, self.ca_file, self.crl_file)
        return [path for path in every if path is not None]


class Certificates:
    """The TLS contexts for the next connection. Raises ConfigError if the files do not fit at the start.

    Attributes:
        context: for connections that are accepted.
        dialling_context: for those that are dialled; None unless `dials`.
    """

    def __init__(self, settings: TlsSettings, *, dials: bool = False) -> None:
        self._settings = settings
        self._dials = dials
        self._files = FileWatch(settings.files)
        self.context, self.dialling_context = self._load()

    async def watch(self) -> None:
        """Look at the files every few seconds, until cancelled."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            self.refresh()

    def refresh(self, *, even_if_unchanged: bool = False) -> None:
        """Read the files again if one has changed; connections that are open keep what they agreed on."""
        if not self._files.has_changed() and not even_if_unchanged:
            return
        try:
            self.context, self.dialling_context = self._load()
        except ConfigError as error:
            logger.error("the TLS files do not fit; what was read before stays in use. %s", error)
        else:
            logger.info("read the TLS files anew: new connections get %s", self._settings.certificate_file)

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        """All or nothing."""
        return load_context(self._settings), load_context(self._settings, dials=True) if self._dials else None


def load_context(settings: TlsSettings, *, dials: bool = False) -> ssl.SSLContext:
    """The context of a server, or of one that dials another server. Raises ConfigError."""
    names = settings.names
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if dials else ssl.PROTOCOL_TLS_SERVER)
    # Clients stay for hours; resuming would save nothing, and would let a session outlive a certificate.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    if not dials:
        context.num_tickets = 0
    _agree_on(context, settings)
    _load_key(context, settings)
    if settings.ca_file is not None:
        _load(context, settings.ca_file, names.trust_store, _CERTIFICATE, "certificate of an authority", names)
    elif settings.client_auth is not ClientAuth.NONE:
        raise ConfigError(
            f"{names.client_auth}={settings.client_auth.value} needs {names.trust_store}: name a PEM file with the "
            f"certificates of those who issue the clients' ones, or give {names.client_auth}=none to let clients in "
            "without a certificate"
        )
    if settings.crl_file is not None:
        _load(
            context, settings.crl_file, names.crl_file, _REVOCATIONS, "list of revoked certificates (X509 CRL)", names
        )
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    # As in Java, whatever is trusted is trusted for itself, not only if it is a root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if dials:
        context.check_hostname = settings.checks_names
    else:
        context.verify_mode = _VERIFY_MODES[settings.client_auth]
    return context


# --- the private key ------------------------------------------------------------------------------


def _load_key(context: ssl.SSLContext, settings: TlsSettings) -> None:
    names = settings.names
    certificate, key = settings.certificate_file, settings.key_file or settings.certificate_file
    key_setting = names.key_store if settings.key_file is None else names.key_file
    _demand(_read(certificate, names.key_store), _CERTIFICATE, "certificate", certificate, names.key_store, names)
    _demand(_read(key, key_setting), _PRIVATE_KEY, "private key", key, key_setting, names)
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return _password(settings, key, key_setting)

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            complaint = f"the private key in it does not belong to the first certificate in {certificate}"
        elif asked:
            complaint = f"the password does not open the private key; correct {names.password} or passwordPath"
        else:
            complaint = f"the certificate or the private key is damaged ({error.reason or error}); export them again"
        raise ConfigError(f"{key_setting}={key}: {complaint}") from None
    except ValueError as error:  # A password that is longer than OpenSSL takes.
        raise ConfigError(f"{key_setting}={key}: {error}") from None


def _password(settings: TlsSettings, key: Path, key_setting: str) -> str:
    if settings.key_password_file is not None:
        return _read(settings.key_password_file, settings.names.password_file).decode("utf-8", "replace").strip("\r\n")
    if settings.key_password is None:
        raise ConfigError(
            f"{key_setting}={key}: the private key is encrypted; give {settings.names.password}, or "
            f"{settings.names.password_file} with the path of a file that holds the password"
        )
    return settings.key_password


# --- files ----------------------------------------------------------------------------------------


def _load(
    context: ssl.SSLContext, path: Path, setting: str, wanted: re.Pattern[bytes], what: str, names: SettingNames
) -> None:
    _demand(_read(path, setting), wanted, what, path, setting, names)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"{setting}={path}: it is damaged ({error.reason or error}); export it again") from None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{setting}={path}: no such file; give the path of a PEM file") from None
    except OSError as error:
        raise ConfigError(
            f"{setting}={path}: cannot be read ({error.strerror}); make it readable for this user"
        ) from None


def _demand(
    content: bytes, wanted: re.Pattern[bytes], what: str, path: Path, setting: str, names: SettingNames
) -> None:
    if wanted.search(content):
        return
    if not content.startswith((_JKS_MAGIC, _DER_SEQUENCE)):
        raise ConfigError(f"{setting}={path}: there is no {what} in PEM form in it (-----BEGIN ...-----)")
    pem = path.with_suffix(".pem")
    if setting == names.trust_store:
        command = f"keytool -list -rfc -keystore {path} > {pem}"
    elif content.startswith(_JKS_MAGIC) or path.suffix.lower() == ".bcfks":
        p12 = path.with_suffix(".p12")
        command = (
            f"keytool -importkeystore -srckeystore {path} -destkeystore {p12} -deststoretype PKCS12 && "
            f"openssl pkcs12 -in {p12} -nodes -out {pem}"
        )
    else:
        command = f"openssl pkcs12 -in {path} -nodes -out {pem}"
    raise ConfigError(f"{setting}={path}: a Java or PKCS12 store; zkstore reads PEM. Convert it by: {command}")


# --- what may be agreed on ------------------------------------------------------------------------


def _agree_on(context: ssl.SSLContext, settings: TlsSettings) -> None:
    versions, ciphers, names = settings.versions, settings.ciphers, settings.names
    if ciphers:
        older = [name for name in ciphers if "_WITH_" in name]
        # TLS 1.3 has three ciphers with names of their own, all of them strong; naming one asks for that version.
        kept = {
            version
            for version in versions
            if (len(older) < len(ciphers) if version is ssl.TLSVersion.TLSv1_3 else bool(older))
        }
        if not kept:
            raise ConfigError(f"{names.ciphers}: none of them is for one of {names.versions}; name others")
        versions = frozenset(kept)
        if older:
            try:
                context.set_ciphers(":".join(map(openssl_name, older)))
            except ssl.SSLError:
                raise ConfigError(
                    f"{names.ciphers}={','.join(ciphers)}: OpenSSL has none of them; leave the setting out, or name "
                    "ciphers such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
                ) from None
    context.minimum_version = min(versions)
    context.maximum_version = max(versions)


def openssl_name(standard_name: str) -> str:
    """`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` as OpenSSL calls it: `ECDHE-RSA-AES128-GCM-SHA256`."""
    exchange, _, cipher = standard_name.removeprefix("TLS_").removeprefix("SSL_").partition("_WITH_")
    cipher = re.sub(r"^(AES|ARIA|CAMELLIA)_(128|256)", r"\1\2", cipher)
    cipher = (
        cipher.replace("_CBC", "").replace("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").replace("CCM_8", "CCM8")
    )
    parts = [exchange] if exchange != "RSA" else []
    return "-".join([*parts, cipher]).replace("_", "-")
