"""Development certificates: TLS on this machine, by one command, with nothing dangerous left over.

Twilio speaks HTTPS only, so development does too.
`make_development_certificates` makes an authority of our own and, signed by it, a certificate for
localhost.
Whoever is given the authority's file, a browser, curl, a test, then trusts the server.

Three rules keep this harmless:

- The authority's private key is never written down: it signs one certificate and is forgotten.
  An authority that somebody trusts is a danger as long as its key exists, since whoever has the
  key can pose as any bank.
  Renewal therefore makes a new authority.
- The authority may vouch for localhost, 127.0.0.1 and ::1, and for nothing else
  (name constraints, RFC 5280, 4.2.1.10).
- The server's key is readable by its owner alone from the moment its file exists.
  A chmod afterwards would leave a moment in which others could open it.

These are not certificates for production: Twilio refuses an authority that the public does not
know.
"""

import argparse
import ipaddress
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = timedelta(days=365)  # browsers take no more than 825 days, even from a private authority
CLOCK_SKEW = timedelta(hours=1)  # valid from a little earlier: clocks in containers lag
ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class DevelopmentCertificates:
    """Where the files are: the authority to trust, the server's chain, and the server's key."""

    ca: Path
    certificate: Path
    key: Path


def make_development_certificates(directory: Path, *, now: datetime) -> DevelopmentCertificates:
    """Leave valid certificates in the directory: those that are there, or else new ones."""
    found = DevelopmentCertificates(
        ca=directory / "ca.pem",
        certificate=directory / "localhost.pem",
        key=directory / "localhost-key.pem",
    )
    if not _is_usable(found, now):
        directory.mkdir(parents=True, exist_ok=True)
        _make(found, now)
    return found


def _is_usable(found: DevelopmentCertificates, now: datetime) -> bool:
    """Tell whether the three files are there, belong together and are valid now."""
    try:
        ca = x509.load_pem_x509_certificate(found.ca.read_bytes())
        certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        key = load_pem_private_key(found.key.read_bytes(), password=None)
        certificate.verify_directly_issued_by(ca)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return key.public_key() == certificate.public_key() and all(
        each.not_valid_before_utc <= now < each.not_valid_after_utc for each in (ca, certificate)
    )


def _make(files: DevelopmentCertificates, now: datetime) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key, now)
    certificate = _server_certificate(key.public_key(), ca, ca_key, now)
    # Interrupted between two of these, the set does not match and the next call makes a new one.
    _write(
        files.key,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        permissions=0o600,
    )
    chain = certificate.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM)
    _write(files.certificate, chain, permissions=0o644)
    _write(files.ca, ca.public_bytes(Encoding.PEM), permissions=0o644)


def _authority(ca_key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("generic-connector development authority")
    permitted: list[x509.GeneralName] = [x509.DNSName("localhost")]
    permitted += [x509.IPAddress(ipaddress.ip_network(address)) for address in ADDRESSES]
    return (
        _builder(name, name, ca_key.public_key(), ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    return (
        _builder(_name("localhost"), ca.subject, key, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
) -> x509.CertificateBuilder:
    """Start a certificate with what both kinds have in common."""
    now = now.replace(microsecond=0)  # certificates know whole seconds
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, *, permissions: int) -> None:
    """Put the file in place whole; it has its permissions before it has its content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, permissions), "wb") as file:
        file.write(content)
    draft.replace(path)


def main() -> None:
    """Make certificates in the directory named on the command line; print where they are."""
    parser = argparse.ArgumentParser(prog="python -m generic_connector.certificates")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    made = make_development_certificates(directory, now=datetime.now(UTC))
    sys.stdout.write(f"{made.ca}\n{made.certificate}\n{made.key}\n")


if __name__ == "__main__":
    main()
