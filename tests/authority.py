"""Certificates for tests: an authority, and whom it vouches for, as PEM files in a directory of the test's own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ORGANIZATION: Final = "zk"


class Authority:
    """Issues certificates.

    Attributes:
        ca_file: its own certificate.
        server_file: certificate and key of a server at localhost.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)
        self.server_file = self.server("server")

    def server(self, name: str) -> Path:
        """Another certificate of the server, with its key."""
        path = self.directory / f"{name}.pem"
        self._ca.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def client(self, name: str, *, password: str | None = None) -> Path:
        """Certificate and key of a client, the key in the form that Java reads."""
        issued = self._ca.issue_cert(f"{name}@example.org", common_name=name, organization_name=ORGANIZATION)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        sealing = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
        path = self.directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing) + issued.cert_chain_pems[0].bytes()
        )
        return path

    def revoke(self, client: Path) -> Path:
        """A list that says that this client's certificate is not good any more."""
        certificate = x509.load_pem_x509_certificate(parts(client.read_bytes())[1])
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, certificate.not_valid_before_utc).build()
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(certificate.issuer)
            .last_update(certificate.not_valid_before_utc)
            .next_update(certificate.not_valid_after_utc)
            .add_revoked_certificate(entry)
            .sign(key, hashes.SHA256())
        )
        path = self.directory / "revoked.pem"
        path.write_bytes(crl.public_bytes(Encoding.PEM))
        return path

    def client_context(self, certificate_file: Path | None = None) -> ssl.SSLContext:
        """What a client needs to connect."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if certificate_file is not None:
            context.load_cert_chain(certificate_file)
        return context


def parts(pem: bytes) -> tuple[bytes, bytes]:
    """The key and the certificates of a file that holds both."""
    at = pem.index(b"-----BEGIN CERTIFICATE")
    return pem[:at], pem[at:]
