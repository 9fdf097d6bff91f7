"""The demonstration: the whole gateway at work in a few seconds, on a machine where nothing is set up.

It makes a home in a temporary directory, with certificates of its own, starts `serve` in a process of its own, adds the
four instances of Twilio's documentation while it runs, and then is Twilio: it sends what Twilio would send, over TLS,
and prints what goes back and forth. Every answer is checked against what it must be. Then somebody calls: a whole
`<Pay>` is played, keys and prompts included, by the simulated Twilio. The last word has the sandbox's book, which tells
how often money moved. Unless it is to end there, the gateway goes on, and beside it the simulated Twilio with its phone
page.

- `steps`: what is sent, and what must come back. Data.
- `gateway`: the server, as anybody would start it, in a place that is removed; `process`: how it is started.
- `phone`: the call, and the phone page.
- `transcript`: how it is printed. No card number, CVV, account number or password of a request is.
- here: the play.
"""

import contextlib
import json
import os
import signal
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from generic_connector import __version__
from generic_connector.demo.gateway import ANSWER_S_MAX, Gateway
from generic_connector.demo.phone import CALL, CALL_ABOUT, CALL_ID, Phone, play_call
from generic_connector.demo.process import DemoError
from generic_connector.demo.steps import CRASH, INSTANCES, STEPS, Step
from generic_connector.demo.transcript import BOLD, COLUMNS, GREEN, RED, masked, paint, quoted, say, table
from generic_connector.payment import Method
from generic_connector.settings import ENV_PREFIX

__all__ = ["run_demo"]

PORT = 8443
PHONE_PORT = 8444

_CAPTURE_S_MAX = 10.0
_POLL_S = 0.02


def run_demo(*, once: bool, port: int | None) -> int:
    """Play the demonstration; then, unless `once`, keep the gateway until Ctrl-C. Return the exit status."""
    if port is None:
        port = 0 if once else PORT
    began = time.perf_counter()
    played = False
    try:
        with _ending_in_order(), _without_settings(), Gateway(port) as gateway:
            demo = _Demo(gateway, phone_port=PHONE_PORT if port else 0)
            wrong = demo.play()
            played = not wrong
            say("", *_verdict(wrong, time.perf_counter() - began))
            if played and not once:
                demo.keep_running()
    except DemoError as error:
        say("", paint(RED, f"The demonstration failed: {error}"))
        return 1
    except KeyboardInterrupt:
        say("", "Stopped. Everything is removed.")
    return 0 if played else 1


def _verdict(wrong: Sequence[str], seconds: float) -> list[str]:
    if wrong:
        return [paint(RED, "NOT as it must be:"), *(f"  {fault}" for fault in wrong)]
    return [paint(GREEN, f"All {len(STEPS) + 2} steps were answered as they must be, in {seconds:.1f} s.")]


class _Demo:
    """Twilio's part, and the teller's."""

    def __init__(self, gateway: Gateway, *, phone_port: int) -> None:
        self._gateway = gateway
        self._phone_port = phone_port
        self._credentials: dict[str, tuple[str, str]] = {}
        self._answers: list[bytes] = []
        self._wrong: list[str] = []

    def play(self) -> Sequence[str]:
        """Play all steps and read the statement. Returns what was not as it must be."""
        say(
            paint(BOLD, f"generic-connector {__version__}: Twilio's Generic Pay Connector, on this machine"),
            "Test numbers, a sandbox for a processor, a temporary home: no money moves, nothing stays.",
            "",
        )
        ready_s = self._gateway.start()
        with self._client() as client:
            for name in INSTANCES:
                added = self._gateway.act("instance add", unique_name=name)
                self._credentials[name] = (added["username"], added["password"])
            say(
                f"gateway    {self._gateway.url}, over TLS, ready after {ready_s:.1f} s",
                f"instances  {', '.join(INSTANCES)}, added while it runs",
            )
            for number, step in enumerate(STEPS, start=1):
                self._announce(number, step)
                self._answer(client, number, step)
        self._crash(len(STEPS) + 1)
        self._call(len(STEPS) + 2)
        self._statement()
        return self._wrong

    @contextlib.contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """A client with its TLS handshake behind it, so that what is timed is the gateway."""
        with self._gateway.client() as client:
            client.get("/healthz").raise_for_status()
            yield client

    def _announce(self, number: int, step: Step) -> None:
        say("", paint(BOLD, f"{number:2}  {step.title}"), f"    > POST / as {step.instance}")
        same = f"    > the same bytes as in {step.repeats}"
        say(*([same] if step.repeats is not None else quoted(">", masked(step.body))))

    def _answer(self, client: httpx.Client, number: int, step: Step) -> None:
        """Send, print the answer, and remember what is wrong with it."""
        began = time.perf_counter()
        try:
            response = self._send(client, step)
            milliseconds = (time.perf_counter() - began) * 1000
            reply = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise DemoError(f"step {number} ({step.title}) got no answer: {type(error).__name__}") from None
        fault = self._fault(step, response, reply)
        say(
            paint(GREEN if fault is None else RED, f"    < HTTP {response.status_code} in {milliseconds:.1f} ms"),
            *quoted("<", reply),
            *(f"    {line}" for line in textwrap.wrap(step.meaning, COLUMNS - 4)),
        )
        self._answers.append(response.content)
        if fault is not None:
            self._note(f"step {number} ({step.title}): {fault}")

    def _send(self, client: httpx.Client, step: Step) -> httpx.Response:
        """Without a Content-Type, as Twilio has been seen to do."""
        username, password = self._credentials[step.instance]
        if step.has_wrong_password:
            password = password[::-1]
        return client.post("/", content=json.dumps(step.body), auth=(username, password))

    def _fault(self, step: Step, response: httpx.Response, reply: Mapping[str, Any]) -> str | None:
        """Return what is wrong with an answer, or None."""
        if response.status_code != step.status:
            return f"HTTP {response.status_code}, and not {step.status}"
        if reply.get("error_code") != step.code:
            return f"error_code {reply.get('error_code')}, and not {step.code}"
        id_ = reply.get(Method(step.body["method"]).id_key)
        if bool(id_) is not (step.code is None):
            return "an id where there must be none" if id_ else "no id"
        if step.repeats is not None and response.content != self._answers[step.repeats - 1]:
            return f"not the bytes of step {step.repeats}"
        return None

    def _note(self, fault: str) -> None:
        self._wrong.append(fault)
        say(paint(RED, f"    NOT as it must be: {fault}"))

    def _crash(self, number: int) -> None:
        """Kill the server while the processor has taken the money and nobody has been told; start it and retry."""
        self._announce(number, CRASH)
        delivery = threading.Thread(target=self._be_cut_off, daemon=True)
        delivery.start()
        self._wait_for_capture(number, delivery)
        self._gateway.kill()
        delivery.join(ANSWER_S_MAX)
        say("    ! kill -9: the processor has the money, its answer is on the way, nobody has been told")
        ready_s = self._gateway.start()
        say(f"    ! serve again, ready after {ready_s:.1f} s", "    > the same bytes, as Twilio's retry")
        with self._client() as client:
            self._answer(client, number, CRASH)

    def _be_cut_off(self) -> None:
        with self._client() as client, contextlib.suppress(httpx.TransportError):
            self._send(client, CRASH)

    def _wait_for_capture(self, number: int, delivery: threading.Thread) -> None:
        deadline = time.monotonic() + _CAPTURE_S_MAX
        while all(line.transaction_id != CRASH.body["transaction_id"] for line in self._gateway.statement()):
            if not delivery.is_alive() or time.monotonic() > deadline:
                raise DemoError(f"step {number} ({CRASH.title}): nothing was captured before the kill")
            time.sleep(_POLL_S)

    def _call(self, number: int) -> None:
        """Play a phone call."""
        say("", paint(BOLD, f"{number:2}  {CALL}"), *(f"    {line}" for line in textwrap.wrap(CALL_ABOUT, COLUMNS - 4)))
        result = play_call(self._gateway, self._credentials["Default"], say)
        if result != "success":
            self._note(f"step {number} ({CALL}): the Result is {result}, and not success")

    def _statement(self) -> None:
        """Print what the bank's book says, and compare it with the charges that were answered with an id."""
        lines = self._gateway.statement()
        charged = {CALL_ID, *(step.body["transaction_id"] for step in (*STEPS, CRASH) if step.is_charged)}
        say("", paint(BOLD, "The processor's book (generic-connector sandbox statement)"), "", *table(lines), "")
        told = (
            f"{len(lines)} captured for {len(charged)} charges, after {len(STEPS) + 3} deliveries and a kill -9: "
            "neither the retries nor the decline, the conflict or the wrong password moved money."
        )
        say(*(f"    {line}" for line in textwrap.wrap(told, COLUMNS - 4)))
        if sorted(line.transaction_id for line in lines) != sorted(charged):
            self._note(f"the statement: {len(lines)} captured purchases for {len(charged)} charges")

    def keep_running(self) -> None:
        """Serve the phone page too, tell how to try it all, and stay until a signal comes."""
        with Phone(self._gateway, self._credentials, self._phone_port) as phone:
            say("", *phone.invitation(), "", *self._gateway.invitation(*self._credentials["Default"]), "")
            say("Ctrl-C ends it and removes everything.")
            self._gateway.wait()


# --- How it begins and ends ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Nobody's own settings reach the demonstration: neither its home nor its server."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, in the background too: with everything removed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
