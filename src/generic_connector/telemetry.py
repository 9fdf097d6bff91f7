"""Telemetry: what the gateway tells its operators, as events on stderr and as metrics. Nothing else leaves.

An event is one line of JSON: a time, a name, and fields whose names are on the allow-list. Values are ids,
codes, counts, durations, a brand and four digits. A field that is not on the list is dropped and its name is
told, so that a careless call shows in tests and never in a log. What other libraries log, and what Python itself
would print, passes through the same gate: texts lose every digit and all but their first line, tracebacks keep types
and places and lose messages, source values and locals.

Metrics are Prometheus's. They are served on the management listener only.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import accumulate
from json.encoder import encode_basestring_ascii as quoted
from types import TracebackType
from typing import TextIO

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from generic_connector.card import without_pans
from generic_connector.ports import Clock
from generic_connector.scrub import blot, scrub

FIELDS = frozenset(
    {
        "request_id", "instance", "method", "transaction_id", "charge_id", "state", "how", "code", "may_retry",
        "status", "brand", "last4", "ms", "processor", "why", "error", "where", "by", "in_doubt", "credential",
        "address", "reason", "action", "target", "actor", "logger", "level", "text", "version", "signal", "left",
        "dropped",
    }
)  # fmt: skip

_FROM_OUTSIDE = frozenset({"target", "text", "where", "reason", "address", "why"})
"""The fields whose values somebody else chose: scrubbed, though no card number belongs there."""
_CLEANED: dict[str, Callable[[str], str] | None] = {
    name: scrub if name in _FROM_OUTSIDE else without_pans if name == "transaction_id" else None for name in FIELDS
}
"""What each field's text goes through."""

_FRAMES_MAX = 12
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LEVEL_OF = {
    "error": 40, "error_after_claim": 40, "no_processor": 40, "commit_failed": 40, "store_unavailable": 40,
    "fence_lost": 30, "possible_duplicate": 30, "processor_unknown": 30, "refused_credential": 30, "throttled": 30,
    "log": 30,
}  # fmt: skip
_PAYMENT_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 9.5, 20, 45, 60)


class EventLog:
    """`ports.Log` on a stream. `level` is the least that is written: debug, info, warning or error."""

    def __init__(self, stream: TextIO, clock: Clock, level: str = "info") -> None:
        self._stream = stream
        self._clock = clock
        self._least = _LEVELS[level]
        self._second, self._at = -1, ""
        self._lines: list[str] = []

    def __call__(self, event: str, **fields: str | float | None) -> None:
        """Write one event. Fields that are None are left out.

        What one turn of the event loop brings is written at its end, together: a write is a system call. An error is
        written at once, with all that came before it, since the process may be about to end.
        """
        level = _LEVEL_OF.get(event, 20)
        if level < self._least:
            return
        line = f'{{"at": "{self._now()}", "event": {quoted(event)}'
        for name, value in fields.items():
            if value is None:
                continue
            if name not in FIELDS:
                line += f', "dropped": {quoted(name)}'
            elif isinstance(value, str):
                cleaned = _CLEANED[name]
                line += f', "{name}": {quoted(value if cleaned is None else cleaned(value))}'
            else:
                line += f', "{name}": {str(value).lower()}'  # a number, or true or false
        self._write(line)
        if level >= _LEVELS["error"]:
            self.flush()

    def delivery(
        self,
        *,
        request_id: str,
        instance: str,
        credential: str,
        method: str,
        transaction_id: str,
        how: str,
        charge_id: str | None,
        brand: str | None,
        last4: str | None,
        code: str | None,
        may_retry: bool | None,
        status: int | None,
        ms: float,
    ) -> None:
        """Write the event `payment`, which every delivery makes.

        What an event's fields are judged by one by one is known here: all but the carrier's id are names, ids and codes
        of our own, of letters and digits.
        """
        if self._least > _LEVELS["info"]:
            return
        carriers_id = quoted(without_pans(transaction_id))
        line = (
            f'{{"at": "{self._now()}", "event": "payment", "request_id": "{request_id}", "instance": "{instance}", '
            f'"credential": "{credential}", "method": "{method}", "transaction_id": {carriers_id}, "how": "{how}"'
        )
        if charge_id is not None:
            line += f', "charge_id": "{charge_id}"'
        if brand is not None:
            line += f', "brand": "{brand}"'
        if last4 is not None:
            line += f', "last4": "{last4}"'
        if code is not None:
            line += f', "code": "{code}"'
        if may_retry is not None:
            line += f', "may_retry": {"true" if may_retry else "false"}'
        if status is not None:
            line += f', "status": {status}'
        self._write(f'{line}, "ms": {ms}')

    def _now(self) -> str:
        second, ms = divmod(self._clock(), 1000)
        if second != self._second:
            self._second, self._at = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._at}.{ms:03}Z"

    def _write(self, line: str) -> None:
        self._lines.append(line + "}\n")
        if len(self._lines) == 1:
            self._flush_soon()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:  # there is no loop
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        lines, self._lines = self._lines, []
        # Where nobody reads it, or the disk is full, payments go on.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write("".join(lines))
            self._stream.flush()


# --- What other libraries say ----------------------------------------------------------------------------------------


class _Gate(logging.Handler):
    """Passes other libraries' log records on as events, without their digits."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error, where = None, None
        if record.exc_info is not None and record.exc_info[0] is not None:
            error, where = record.exc_info[0].__name__, places(record.exc_info[2])
        said = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        # asyncio writes exceptions with their texts into the lines that follow.
        text = blot(said.partition("\n")[0])
        self._log("log", logger=record.name, level=record.levelname.lower(), text=text, error=error, where=where)


def places(trace: TracebackType | None) -> str:
    """Return where an exception came from: file, line and function of each frame, innermost last. No values."""
    frames = traceback.extract_tb(trace)[-_FRAMES_MAX:]
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)


def gate_other_logs(log: EventLog) -> None:
    """Send every other logger's warnings, and what ends the process or a thread, through the gate. Once per process."""
    logging.lastResort = None
    root = logging.getLogger()
    root.handlers = [_Gate(log)]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio", "httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)

    _gate_what_python_prints(log)


def _gate_what_python_prints(log: EventLog) -> None:
    """Tell type and place of what Python itself would write to stderr in full: last exceptions, and warnings."""

    def died(kind: type[BaseException], _error: BaseException | None, trace: TracebackType | None) -> None:
        log("error", error=kind.__name__, where=places(trace))

    def thread_died(hooked: threading.ExceptHookArgs) -> None:
        if hooked.exc_type is not SystemExit:  # as in Python's own hook: that is how a thread may end
            died(hooked.exc_type, None, hooked.exc_traceback)

    def could_not_raise(hooked: "sys.UnraisableHookArgs") -> None:
        died(hooked.exc_type, None, hooked.exc_traceback)

    def warned(  # noqa: PLR0917 - Python's signature
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del message, file, line
        where = f"{filename.rpartition('/')[2]}:{lineno}"
        log("log", logger="warnings", level="warning", error=category.__name__, where=where)

    sys.excepthook = died
    threading.excepthook = thread_died
    sys.unraisablehook = could_not_raise
    warnings.showwarning = warned


# --- Metrics ---------------------------------------------------------------------------------------------------------


class Metrics(Collector):
    """The gateway's metrics, in a registry of their own. Labels are few and bounded: never an id, never an instance.

    Every payment is counted, and hardly ever does anybody ask: so to count is to add to a dictionary, and what the
    library has to make of it is made when it is asked for.
    """

    def __init__(self) -> None:
        self._payments: dict[tuple[str, str, str], int] = {}
        self._seconds = [0] * (len(_PAYMENT_SECONDS) + 1)
        self._seconds_in_all = 0.0
        self._refused: dict[str, int] = {}
        self.registry = CollectorRegistry()
        self.at_work = Gauge(
            "generic_connector_payments_at_work", "Payments being worked on now.", registry=self.registry
        )
        self.registry.register(self)

    def payment(self, method: str, code: str, how: str, seconds: float) -> None:
        """Count a delivery that was answered."""
        key = (method, code, how)
        self._payments[key] = self._payments.get(key, 0) + 1
        self._seconds[bisect_left(_PAYMENT_SECONDS, seconds)] += 1
        self._seconds_in_all += seconds

    def refused(self, code: str) -> None:
        """Count a request that was no payment."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Return what was counted so far."""
        payments = CounterMetricFamily(
            "generic_connector_payments",
            "Deliveries answered, by method, outcome code (ok where none) and how the answer came about.",
            labels=["method", "code", "how"],
        )
        for key, count in self._payments.items():
            payments.add_metric(list(map(str, key)), count)
        yield payments
        bounds = (*map(floatToGoString, _PAYMENT_SECONDS), "+Inf")
        yield HistogramMetricFamily(
            "generic_connector_payment_seconds",
            "From the request's body to its answer.",
            buckets=list(zip(bounds, accumulate(self._seconds), strict=True)),
            sum_value=self._seconds_in_all,
        )
        refused = CounterMetricFamily(
            "generic_connector_refused_requests", "Requests that were no payment, by error code.", labels=["code"]
        )
        for code, count in self._refused.items():
            refused.add_metric([str(code)], count)
        yield refused
