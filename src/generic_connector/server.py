"""The server: uvicorn around the gateway, with a start that is announced and an end that loses nothing.

Start: the home's lock, the parts, the leases of dead boots ended, the control socket, the listener, one line
on stdout.

End, on SIGTERM or SIGINT: the listener closes at once, so that a load balancer or Twilio's retry goes
elsewhere. What is in flight gets `drain_timeout`; new payments on open connections are refused, retries still
hear the truth. Then connections are dropped without an answer (uvicorn would send a 500, and an error would
end Twilio's attempts), and the process exits 0. Rows that were still running are taken over by the next
start.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from prometheus_client import make_asgi_app

from generic_connector.home import CONTROL_SOCKET, Installation
from generic_connector.identity import Throttle
from generic_connector.settings import Settings
from generic_connector.telemetry import Metrics
from generic_connector.web.control import serve_control
from generic_connector.web.gateway import Gateway
from generic_connector.web.pages import make_pages
from generic_connector.web.wire import JoiningProtocol

_PR_SET_DUMPABLE = 4
_STEP_S = 0.05
_MANY_CONNECTIONS = 2048
_YOUNG_OBJECTS = 20_000
"""Reference counts free what a payment makes. The collector, which finds cycles, looks less often than every 700."""


class BadTlsError(Exception):
    """The certificate, key or client CA cannot be used. Says which."""


class AddressError(Exception):
    """The address cannot be listened on. Says which, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where and how to listen. Without a certificate: plain HTTP, which only loopback may have."""

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    management: tuple[str, int] | None = None


def tls_context(listener: Listener) -> ssl.SSLContext | None:
    """Return the TLS context of a listener: TLS 1.2 and 1.3, forward secrecy and AEAD only (PCI DSS 4.2.1)."""
    if listener.certificate is None or listener.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An empty password: a key that needs one is refused, where OpenSSL would ask the terminal for it.
        context.load_cert_chain(listener.certificate, listener.key, password="")
    except (OSError, ssl.SSLError) as error:
        raise BadTlsError(
            f"the certificate or its key cannot be used ({type(error).__name__}): give PEM files that belong together, "
            "the certificate with its chain, the key without a password"
        ) from None
    if listener.client_ca is not None:
        try:
            context.load_verify_locations(listener.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise BadTlsError(f"the client CA cannot be used ({type(error).__name__}): give a PEM file") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host, on one port; 0 is a free one. Raises `AddressError`."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _type, _protocol, _name, (address, *_rest) in dict.fromkeys(found):
            bound.append(socket.create_server((str(address), port), family=family, backlog=_MANY_CONNECTIONS))
            bound[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a second write waits for no ACK
            port = port or bound[0].getsockname()[1]
    except OSError as error:
        for one in bound:
            one.close()
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise AddressError(
            f"{host} port {port} cannot be listened on ({why}): choose another, or end what uses it"
        ) from None
    return bound


def make_gateway(parts: Installation, metrics: Metrics) -> Gateway:
    """Return the ASGI application of an installation."""
    settings = parts.settings
    metrics.at_work.set_function(lambda: parts.connector.at_work)
    return Gateway(
        connector=parts.connector,
        directory=parts.directory,
        throttle=Throttle(settings.refused_burst, settings.refused_per_second, parts.clock),
        pages=make_pages(
            connector=parts.connector,
            keyring=parts.keyring,
            store=parts.store,
            processors=parts.processors,
            clock=parts.clock,
            randomness=parts.randomness,
            log=parts.log,
        ),
        log=parts.log,
        metrics=metrics,
        clock=parts.clock,
        randomness=parts.randomness,
        body_timeout_s=settings.body_timeout,
    )


async def serve(parts: Installation, listener: Listener, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `announce` gets the address once everything is ready."""
    _keep_memory_private()
    metrics = Metrics()
    context = tls_context(listener)
    sockets = listen(listener.host, listener.port)
    beside = [] if listener.management is None else listen(*listener.management)
    if listener.management is not None:
        parts.log("management", address=_address(listener.management[0], beside[0].getsockname()[1]))
    server = _Server(uvicorn_config(make_gateway(parts, metrics), listener, context, parts.settings), parts)
    control = await serve_control(parts.home / CONTROL_SOCKET, parts.administration, parts.log)
    housekeeping = asyncio.create_task(_reconcile_now_and_then(parts))
    management = _management(listener, metrics)
    others = [] if management is None else [asyncio.create_task(management.serve(beside))]
    _freeze_garbage()

    def ready() -> None:
        scheme = "http" if context is None else "https"
        announce(f"{scheme}://{_address(listener.host, server.port)}")

    server.ready = ready
    try:
        await server.serve(sockets)
    finally:
        housekeeping.cancel()
        if management is not None:
            management.should_exit = True
        control.close()
        (parts.home / CONTROL_SOCKET).unlink(missing_ok=True)
        await asyncio.gather(housekeeping, *others, return_exceptions=True)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def uvicorn_config(
    app: Gateway, listener: Listener, context: ssl.SSLContext | None, settings: Settings
) -> uvicorn.Config:
    """Return uvicorn's configuration: no limits that answer in text, no logs that name paths, no header that brags."""
    return uvicorn.Config(
        app,
        host=listener.host,
        port=listener.port,
        http=JoiningProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_keep_alive=int(settings.keep_alive),
        backlog=_MANY_CONNECTIONS,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


class _Server(uvicorn.Server):
    """uvicorn's server with our own end: drain, then drop."""

    def __init__(self, config: uvicorn.Config, parts: Installation) -> None:
        super().__init__(config)
        self.ready: Callable[[], None] = lambda: None
        self._parts = parts
        self.servers = []  # a signal may come before uvicorn listens

    @property
    def port(self) -> int:
        """The port that is listened on: the chosen one, or the one that the kernel picked."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Both signals end the server in order. uvicorn would raise them again afterwards: no exit 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _end(self, number: int) -> None:
        self._parts.log("stopping", signal=signal.Signals(number).name, left=self._parts.connector.at_work)
        for server in self.servers:  # now, and not at uvicorn's next tick
            server.close()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        connections = self.server_state.connections
        drained = asyncio.create_task(self._parts.connector.drain())
        for connection in list(connections):
            connection.shutdown()
        deadline = asyncio.get_running_loop().time() + self._parts.settings.drain_timeout
        while (connections or not drained.done()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(_STEP_S)
        for connection in list(connections):
            connection.transport.abort()
        drained.cancel()
        await asyncio.gather(drained, return_exceptions=True)
        self._parts.log("stopped", left=self._parts.connector.at_work)


def _management(listener: Listener, metrics: Metrics) -> uvicorn.Server | None:
    """The listener for operators: metrics. Never the one that Twilio reaches."""
    if listener.management is None:
        return None
    host, port = listener.management
    app = make_asgi_app(metrics.registry)
    return _Quiet(
        uvicorn.Config(app, host=host, port=port, lifespan="off", log_config=None, access_log=False, ws="none")
    )


class _Quiet(uvicorn.Server):
    """A second server of one process: the gateway's takes the signals, and ends this one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def _reconcile_now_and_then(parts: Installation) -> None:
    """Look up what an earlier boot left behind, and what has come into doubt since."""
    while True:
        try:
            await parts.connector.recovery.reconcile()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            parts.log("error", error=type(error).__name__, reason="reconcile")
        await asyncio.sleep(parts.settings.reconcile_every)


def _keep_memory_private() -> None:
    """No core dumps, and no debugger of another user: card numbers pass through this memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _freeze_garbage() -> None:
    """What start-up made lives as long as the process: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
