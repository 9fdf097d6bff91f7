"""A processor that says too much: it does with a card number whatever a careless one could do.

What it does is chosen by a payment's `leak` parameter. Where it is not asked to leak, it approves. It is loaded by a
real server, through `config.toml`: `use = "leaky:create"`.
"""

import asyncio
import ctypes
import gc
import logging
import threading
import warnings

from generic_connector.card import Card
from generic_connector.payment import (
    Approved,
    DeclineCode,
    Declined,
    LookUpResult,
    NotFound,
    PurchaseResult,
    Unavailable,
    Unknown,
)
from generic_connector.ports import ProcessorContext, Purchase, Traits

RAISED = ["raise", "chain", "group", "cancel", "no result", "look-up"]
SAID = ["log", "task", "callback", "thread", "finalizer", "warning"]
ANSWERED = ["unknown", "decline", "unavailable"]
_PR_GET_DUMPABLE = 3
_LOGGER = logging.getLogger("acme_pay")


def create(context: ProcessorContext) -> "Leaky":
    """Return the processor."""
    del context
    return Leaky()


def words(purchase: Purchase) -> str:
    """Return all that nobody may ever say."""
    instrument = purchase.instrument
    if isinstance(instrument, Card):
        cvv = "none" if instrument.cvv is None else instrument.cvv.reveal()
        return f"card {instrument.pan.reveal()} cvv {cvv} of {purchase!r}"
    return f"account {instrument.account_number.reveal()} of {purchase!r}"


class _Spoken:
    """An object that shows everything."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    __str__ = __repr__


class _Finalized(_Spoken):
    def __del__(self) -> None:
        raise ValueError(self._text)


class Leaky:
    """Approves, and leaks as it is told to."""

    traits = Traits(honours_keys=True, looks_up=True, conclusive_after_s=0, is_live=True)

    def __init__(self) -> None:
        self._last = ""
        self._unfound: dict[str, str] = {}

    def check(self, purchase: Purchase) -> str | None:
        self._last = words(purchase)
        if purchase.metadata.get("leak") == "check":
            raise ValueError(self._last)
        return None

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        leak, text = purchase.metadata.get("leak", ""), words(purchase)
        if leak == "look-up":
            self._unfound[purchase.idempotency_key] = text
        if leak == "hang":
            await asyncio.Event().wait()
        if leak in {"raise", "look-up"}:
            raise ValueError(text)
        if leak == "chain":
            _chain(text)
        if leak == "group":
            raise ExceptionGroup(text, [ValueError(text), OSError(5, text)])
        if leak == "cancel":
            raise asyncio.CancelledError(text)
        if leak == "no result":
            return text  # type: ignore[return-value]  # that is the point
        if leak in ANSWERED:
            return _answer(leak, text)
        _say(leak, text)
        return Approved(authorization_code="LEAKY1", processor_reference="reference")

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        return await self.purchase(purchase)

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        if idempotency_key in self._unfound:
            raise LookupError(self._unfound[idempotency_key])
        return NotFound()

    async def is_reachable(self) -> bool:
        """Reachable, where the kernel would not give this process's memory away."""
        if self._last:
            raise ConnectionError(self._last)
        is_dumpable: int = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
        return not is_dumpable

    async def close(self) -> None:
        if self._last:
            raise RuntimeError(self._last)


def _chain(text: str) -> None:
    try:
        dict[str, str]()[text]
    except KeyError as error:
        error.add_note(text)
        raise RuntimeError(text) from error


def _answer(leak: str, text: str) -> PurchaseResult:
    match leak:
        case "unknown":
            return Unknown(text)
        case "decline":
            return Declined(code=DeclineCode.DO_NOT_HONOR)
        case _:
            return Unavailable()


def _say(leak: str, text: str) -> None:
    loop = asyncio.get_running_loop()
    match leak:
        case "log":
            _log(text)
        case "task":
            loop.create_task(_raise_later(text))  # noqa: RUF006 - nobody keeps it, nobody asks it
            loop.call_later(0.05, gc.collect)
        case "callback":
            loop.call_soon(_raise, text)
            loop.call_exception_handler({"message": text, "exception": ValueError(text), "text": _Spoken(text)})
        case "thread":
            threading.Thread(target=_raise, args=(text,), name=text).start()
        case "finalizer":
            _Finalized(text)
        case "warning":
            warnings.warn(text, UserWarning, stacklevel=1)


def _log(text: str) -> None:
    """Everything that one can do with a logger, and a traceback that another library logs."""
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.debug(text)
    _LOGGER.error(text)
    _LOGGER.error("declined: %s", text)
    _LOGGER.error("declined: %(text)s", {"text": text})
    _LOGGER.error(_Spoken(text))
    _LOGGER.error(text, _Spoken(text))
    _LOGGER.critical("declined", extra={"text": text}, stack_info=True)
    try:
        _chain(text)
    except RuntimeError:
        _LOGGER.exception(text, extra={"purchase": text})
        _LOGGER.warning("again", exc_info=True)
    logging.getLogger("asyncio").error(text)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=ValueError(text))


async def _raise_later(text: str) -> None:
    _raise(text)


def _raise(text: str) -> None:
    raise ValueError(text)
