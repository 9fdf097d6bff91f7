"""Development certificates: trusted where they should be, private where they must be."""

import os
import socket
import ssl
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509

from generic_connector.certificates import (
    VALIDITY,
    DevelopmentCertificates,
    main,
    make_development_certificates,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_server_is_trusted_by_whoever_has_the_authority(tmp_path: Path, name: str) -> None:
    """A TLS client that trusts the authority's file accepts the server under each local name."""
    made = make_development_certificates(tmp_path, now=datetime.now(UTC))

    assert shake_hands(made, name, trusting(made.ca)) == b"hello"


def test_server_is_refused_under_another_name(tmp_path: Path) -> None:
    """The certificate is worth nothing under a name that is not local."""
    made = make_development_certificates(tmp_path, now=datetime.now(UTC))

    with pytest.raises(ssl.SSLCertVerificationError, match=r"example\.com"):
        shake_hands(made, "example.com", trusting(made.ca))


def test_server_is_refused_by_whoever_has_not_the_authority(tmp_path: Path) -> None:
    """A client that knows only the public authorities refuses the server."""
    made = make_development_certificates(tmp_path, now=datetime.now(UTC))

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(made, "localhost", ssl.create_default_context())


def test_authority_may_vouch_for_local_names_only(tmp_path: Path) -> None:
    """The authority carries critical name constraints: localhost and the loopback addresses."""
    made = make_development_certificates(tmp_path, now=NEW_YEAR)
    constraints = read(made.ca).extensions.get_extension_for_class(x509.NameConstraints)

    assert constraints.critical
    assert constraints.value.excluded_subtrees is None
    assert constraints.value.permitted_subtrees == [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_network("127.0.0.1/32")),
        x509.IPAddress(ip_network("::1/128")),
    ]


def test_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    """The key's file is readable and writable by its owner and nobody else."""
    made = make_development_certificates(tmp_path, now=NEW_YEAR)

    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


def test_authority_key_is_not_kept(tmp_path: Path) -> None:
    """The only private key on disk is the server's; the authority's is forgotten."""
    made = make_development_certificates(tmp_path, now=NEW_YEAR)
    with_keys = [path for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]

    assert with_keys == [made.key]
    assert read(made.ca).public_key() != read(made.certificate).public_key()
    assert sorted(tmp_path.iterdir()) == [made.ca, made.key, made.certificate]


def test_valid_certificates_are_used_again(tmp_path: Path) -> None:
    """A second call, up to the last second of validity, changes no file."""
    before = contents(make_development_certificates(tmp_path, now=NEW_YEAR))
    last_second = NEW_YEAR + VALIDITY - timedelta(seconds=1)

    assert contents(make_development_certificates(tmp_path, now=last_second)) == before


@pytest.mark.parametrize("moved_by", [VALIDITY, -timedelta(days=1)], ids=["expired", "not yet"])
def test_invalid_certificates_are_renewed(tmp_path: Path, moved_by: timedelta) -> None:
    """Certificates that are not valid now give way to new ones that are, authority included."""
    before = contents(make_development_certificates(tmp_path, now=NEW_YEAR))
    now = NEW_YEAR + moved_by
    renewed = make_development_certificates(tmp_path, now=now)

    assert all(old != new for old, new in zip(before, contents(renewed), strict=True))
    assert read(renewed.certificate).not_valid_after_utc == now + VALIDITY
    assert stat.S_IMODE(renewed.key.stat().st_mode) == 0o600


@pytest.mark.parametrize("file", ["ca", "certificate", "key"])
@pytest.mark.parametrize("damage", ["missing", "not PEM", "another set's"])
def test_incomplete_or_mismatched_certificates_are_renewed(tmp_path: Path, file: str, damage: str) -> None:
    """Three files that do not belong together are replaced by three that do."""
    path: Path = getattr(make_development_certificates(tmp_path, now=NEW_YEAR), file)
    other: Path = getattr(make_development_certificates(tmp_path / "other", now=NEW_YEAR), file)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"no PEM" if damage == "not PEM" else other.read_bytes())

    renewed = contents(make_development_certificates(tmp_path, now=NEW_YEAR))

    assert contents(make_development_certificates(tmp_path, now=NEW_YEAR)) == renewed


def test_draft_of_an_interrupted_run_is_no_obstacle(tmp_path: Path) -> None:
    """A file that a process of the same number left half written is neither used nor left."""
    (tmp_path / f".localhost-key.pem.{os.getpid()}").write_text("half")
    made = make_development_certificates(tmp_path, now=NEW_YEAR)

    assert sorted(tmp_path.iterdir()) == [made.ca, made.key, made.certificate]


def test_command_line_prints_where_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command makes the directory and the files, and prints their paths, one a line."""
    monkeypatch.setattr(sys, "argv", ["certificates", str(tmp_path / "certs")])
    main()
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]

    assert [path.name for path in printed] == ["ca.pem", "localhost.pem", "localhost-key.pem"]
    assert all(path.parent == tmp_path / "certs" and path.is_file() for path in printed)


def trusting(authority: Path) -> ssl.SSLContext:
    """Make a client's context that trusts this authority and no other."""
    return ssl.create_default_context(cafile=str(authority))


def shake_hands(made: DevelopmentCertificates, name: str, client: ssl.SSLContext) -> bytes:
    """Say hello from a TLS server to a TLS client that expects the name; return what arrived."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        try:
            with server.wrap_socket(accepted, server_side=True) as connection:
                connection.sendall(b"hello")
        except (ssl.SSLError, ConnectionError):
            accepted.close()  # the client refused us; its own error is what the test looks at

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(serve, listener)
        with (
            socket.create_connection(listener.getsockname(), timeout=10) as raw,
            client.wrap_socket(raw, server_hostname=name) as connection,
        ):
            return connection.recv(100)


def read(path: Path) -> x509.Certificate:
    """Load the first certificate in the file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(made: DevelopmentCertificates) -> list[bytes]:
    """Read all three files."""
    return [path.read_bytes() for path in (made.ca, made.certificate, made.key)]
