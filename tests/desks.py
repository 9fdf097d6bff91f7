"""A desk on a real socket over real TLS, with an application and an endpoint beside it.

`serve` runs the simulated Twilio with uvicorn in a thread with an event loop of its own. `application` is what a
developer would write: it answers documents, and remembers every signed request. `endpoint` is the other end of a Pay
Connector, as small as one can be.
"""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import trustme

from generic_connector.secret import Secret
from generic_connector.server import listen
from generic_connector.twilio.configuration import ACCOUNT_SID, Configuration
from generic_connector.twilio.desk import serve_desk
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.switches import Switches

WAIT_S = 20
TOKEN = "feedfacefeedfacefeedfacefeedface"
EXPIRY, CODE, POSTAL_CODE = "1239", "987", "94105"

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Tls:
    """An authority of the test's own: a context that serves, and the file that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_file: str


def make_tls(directory: Path) -> Tls:
    """Return a certificate for localhost, and who signed it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Tls(server, client, str(ca_file))


# --- The desk --------------------------------------------------------------------------------------------------------


@dataclass
class ServedDesk:
    """A desk that is served."""

    url: str
    tls: Tls | None

    def client(self, **options: Any) -> httpx.Client:  # noqa: ANN401 - httpx's
        """A client as a browser's page is one."""
        verify = True if self.tls is None else self.tls.client
        return httpx.Client(base_url=self.url, verify=verify, timeout=WAIT_S, **options)

    def rest(self) -> httpx.Client:
        """A client that knows the auth token."""
        return self.client(auth=(ACCOUNT_SID, TOKEN))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> httpx.Response:
        with self.client() as client:
            return client.post(path, json=body or {})

    def place(self, **body: object) -> str:
        """Place a call as the page does."""
        placed = self.post("/desk/calls", body)
        assert placed.status_code == 201, placed.text
        return str(placed.json()["sid"])

    def press(self, sid: str, keys: str) -> None:
        """Press keys."""
        assert self.post(f"/desk/calls/{sid}/keys", {"keys": keys}).status_code == 204

    def events(self, sid: str, until: Callable[[Event], bool], after: str | None = None) -> Sequence[Event]:
        """Return the events of a call, up to one."""
        return [event for event in self.stream(until, after, sid) if event["call"] == sid]

    def stream(self, until: Callable[[Event], bool], after: str | None = None, sid: str = "") -> Sequence[Event]:
        """Return what the stream of events brings, up to one. Each has its wire id beside it."""
        headers = {} if after is None else {"Last-Event-ID": after}
        found: list[Event] = []
        wire_id = ""
        with self.client() as client, client.stream("GET", "/desk/events", headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                name, _colon, value = line.partition(": ")
                if name == "id":
                    wire_id = value
                elif name == "data":
                    event = {**json.loads(value), "wire_id": wire_id}
                    found.append(event)
                    if event["call"].startswith(sid) and until(event):
                        return found
        raise AssertionError("the stream ended")


def kind(name: str, **fields: object) -> Callable[[Event], bool]:
    """Whether an event is of that kind, with these fields."""
    return lambda event: event["kind"] == name and all(event.get(key) == value for key, value in fields.items())


@contextlib.contextmanager
def serve(
    connectors: Sequence[PayConnector],
    tls: Tls | None,
    *,
    switches: Switches | None = None,
    ca_file: str | None = None,
) -> Iterator[ServedDesk]:
    """Serve a desk until the context ends."""
    configuration = Configuration(
        account_sid=ACCOUNT_SID,
        auth_token=Secret(TOKEN),
        is_token_made=False,
        connectors={one.unique_name: one for one in connectors},
        switches=switches or Switches(),
        ca_file=ca_file or (None if tls is None else tls.ca_file),
    )
    ready = threading.Event()
    box: dict[str, Any] = {}

    def announce(url: str) -> None:
        box["url"] = url
        ready.set()

    async def main() -> None:
        box["loop"], box["stop"] = asyncio.get_running_loop(), asyncio.Event()
        context = None if tls is None else tls.server
        await serve_desk(
            configuration,
            listen("127.0.0.1", 0),
            host="localhost" if tls else "127.0.0.1",
            context=context,
            announce=announce,
            stop=box["stop"],
        )

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    if not ready.wait(WAIT_S):
        raise TimeoutError("the desk did not start")
    try:
        yield ServedDesk(box["url"], tls)
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the desk did not end"


# --- What is beside it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request as a server has it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body, keep_blank_values=True))


Answers = Callable[[Asked], tuple[int, str, str]]
"""Status, content type and body."""


@dataclass
class Server:
    """A server on a real socket that remembers what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, is_it: Callable[[Asked], bool]) -> Asked:
        """Return the first request that is it, as soon as it has come."""
        with self.came:
            assert self.came.wait_for(lambda: any(map(is_it, self.asked)), WAIT_S), "it did not come"
            return next(filter(is_it, self.asked))


@contextlib.contextmanager
def application(answers: Answers, tls: Tls | None) -> Iterator[Server]:
    """Serve an application, or anything else that answers."""
    scheme = "http" if tls is None else "https"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is two writes

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            asked = Asked(self.command, f"{scheme}://{self.headers['Host']}{self.path}", dict(self.headers), body)
            status, content_type, reply = answers(asked)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(reply.encode())))
            self.end_headers()
            self.wfile.write(reply.encode())
            with made.came:
                made.asked.append(asked)
                made.came.notify_all()

        do_GET = do_POST = answer  # noqa: N815 - the standard library's names

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_request: object) -> None:
            """A caller who hangs up in the middle is part of the tests."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.server.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made = Server(f"{scheme}://localhost:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def approving(asked: Asked) -> tuple[int, str, str]:
    """Answer as the endpoint of a Pay Connector that approves everything, and echoes what it should not."""
    body = json.loads(asked.body)
    id_key = "charge_id" if body["method"] == "charge" else "token_id"
    reply = {
        id_key: f"{id_key[:2]}_one",
        "error_code": None,
        "error_message": None,
        "parameters": {"echo": body.get("cardnumber") or body.get("bankaccountnumber")},
    }
    return 200, "application/json", json.dumps(reply)


@contextlib.contextmanager
def endpoint(answers: Answers = approving) -> Iterator[Server]:
    """Serve a payment endpoint over plain HTTP on loopback."""
    with application(answers, None) as made:
        yield made


def connector(url: str, unique_name: str = "Default", **fields: Any) -> PayConnector:  # noqa: ANN401 - its fields
    """Return a connector with that endpoint."""
    given = {"username": "twilio", "password": Secret("testing123"), **fields}
    return PayConnector(unique_name=unique_name, url=url, **given)
