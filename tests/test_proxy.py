"""The proxy in front (PCI DSS 1.4.4): the sketch of docs/pci.md is run, with nginx, and keeps what it promises."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from commanding import WAIT_S, Server, charge, done, serving, shown
from generic_connector.certificates import DevelopmentCertificates

PCI = Path(__file__).parents[1] / "docs" / "pci.md"
FROM = "127.0.0.2"
"""The caller's address: the proxy's own is 127.0.0.1."""


@dataclass(frozen=True)
class Front:
    """A gateway that lets the proxy in only, and the proxy."""

    gateway: Server
    folder: Path
    url: str
    tls: ssl.SSLContext

    def client(self, *credentials: str) -> httpx.Client:
        """A caller from outside."""
        transport = httpx.HTTPTransport(verify=self.tls, local_address=FROM)
        auth = (credentials[0], credentials[1]) if credentials else None
        return httpx.Client(base_url=self.url, transport=transport, auth=auth, timeout=WAIT_S)

    def events(self, event: str) -> list[dict[str, object]]:
        """What the gateway has logged."""
        lines = map(json.loads, self.gateway.errors.read_text().splitlines())
        return [line for line in lines if line["event"] == event]


def added(front: Front, name: str) -> tuple[str, str]:
    """Add an instance; return its username and password."""
    told = done(front.gateway.home, "instance", "add", name, "--json").json
    return told["username"], told["password"]


def sketch(**places: str) -> str:
    """Return the sketch with these in the place of its own: each of its own stands in it once."""
    text = PCI.read_text().partition("```nginx\n")[2].partition("```")[0]
    own = {
        "gateway": "10.0.0.5:8443", "listen": "listen 443 ssl", "log": "/var/log/nginx/pay.log",
        "chain": "/etc/ssl/pay.example.com/fullchain.pem", "key": "/etc/ssl/pay.example.com/privkey.pem",
        "authority": "/etc/ssl/inside-ca.pem", "proxy": "/etc/ssl/proxy.pem", "proxy_key": "/etc/ssl/proxy-key.pem",
    }  # fmt: skip
    assert own.keys() == places.keys()
    for name, place in places.items():
        assert text.count(own[name]) == 1, name
        text = text.replace(own[name], place)
    return text


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The gateway behind the sketch."""
    folder = tmp_path_factory.mktemp("front")
    authority = trustme.CA()
    for name, host in (("inside", "pay.inside"), ("proxy", "proxy.inside"), ("outside", "localhost")):
        issued = authority.issue_cert(host)
        issued.private_key_pem.write_to_path(folder / f"{name}-key.pem")
        for part in issued.cert_chain_pems:
            part.write_to_path(folder / f"{name}.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    home = folder / "home"
    done(home, "init")
    with (home / "config.toml").open("a") as config:
        config.write('trusted_proxies = "127.0.0.1"\n')
    certificates = DevelopmentCertificates(folder / "ca.pem", folder / "inside.pem", folder / "inside-key.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    options = ("--port", "0", "--client-ca", str(folder / "ca.pem"))
    with serving(home, *options, certificates=certificates) as gateway, nginx(folder, gateway, tls) as url:
        yield Front(gateway, folder, url, tls)


@contextlib.contextmanager
def nginx(folder: Path, gateway: Server, tls: ssl.SSLContext) -> Iterator[str]:
    """Start nginx with the sketch; return where it listens."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip("nginx is needed (Debian: apt-get install nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = sketch(
        gateway=f"127.0.0.1:{gateway.url.rpartition(':')[2]}",
        listen=f"listen 127.0.0.1:{port} ssl",
        log=str(folder / "pay.log"),
        chain=str(folder / "outside.pem"),
        key=str(folder / "outside-key.pem"),
        authority=str(folder / "ca.pem"),
        proxy=str(folder / "proxy.pem"),
        proxy_key=str(folder / "proxy-key.pem"),
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/temporary-{kind};\n" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}{text}}}\n"
    )
    command = [path, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    url = f"https://localhost:{port}"
    with subprocess.Popen(command) as process:
        try:
            transport = httpx.HTTPTransport(verify=tls, retries=8)  # until it listens
            with httpx.Client(transport=transport, timeout=WAIT_S) as client:
                assert client.get(f"{url}/healthz").json() == {"status": "alive"}
            yield url
        finally:
            process.terminate()


def test_payments_go_through_the_proxy_once(front: Front) -> None:
    """A charge and its retry, over connections that stay: the same bytes, one purchase."""
    with front.client(*added(front, "Paid")) as client:
        replies = [client.post("/", json=charge("through-the-proxy")) for _ in range(3)]

    assert {(200, replies[0].content)} == {(reply.status_code, reply.content) for reply in replies}
    assert replies[0].json()["error_code"] is None
    captured = [line["transaction_id"] for line in shown(front.gateway.home, "sandbox", "statement")]
    assert captured.count("through-the-proxy") == 1


def test_nobody_else_gets_in(front: Front) -> None:
    """Without the proxy's certificate the gateway answers nothing."""
    with httpx.Client(verify=front.tls, timeout=WAIT_S) as client, pytest.raises(httpx.TransportError):
        client.get(f"{front.gateway.url.replace('127.0.0.1', 'localhost')}/healthz")


def test_what_is_too_large_is_refused_by_the_gateway(front: Front) -> None:
    """In the contract's shape: a page of the proxy's would be a malformed response."""
    with front.client(*added(front, "Large")) as client:
        reply = client.post("/", content=b"x" * 20_000)

    assert (413, "payload_too_large") == (reply.status_code, reply.json()["error_code"])


def test_the_gateway_knows_the_caller_and_not_the_proxy(front: Front) -> None:
    """Failed credentials are counted for the address that they came from."""
    with front.client("nobody", "wrong") as client:
        reply = client.post("/", json=charge("refused"))

    assert (401, "unauthorized") == (reply.status_code, reply.json()["error_code"])
    assert FROM == front.events("refused_credential")[-1]["address"]


def test_the_proxy_keeps_nothing(front: Front) -> None:
    """No path, which may be a secret, no header and no body: neither in its log nor in its temporary files."""
    path = done(front.gateway.home, "instance", "add", "Secret", "--path-secret", "--json").json["path"]
    before = len((front.folder / "pay.log").read_text().splitlines())
    with front.client() as client:
        body = charge("by-the-secret-path") | {"description": "x" * 15_000}
        reply = client.post(path, json=body)

    assert reply.json()["error_code"] is None
    lines = (front.folder / "pay.log").read_text().splitlines()
    assert (before + 1, True) == (len(lines), FROM in lines[-1])
    assert not any(word in "".join(lines) for word in (path.rpartition("/")[2], "by-the-secret-path", "Basic"))
    assert [] == [file for kind in front.folder.glob("temporary-*") for file in kind.rglob("*") if file.is_file()]
