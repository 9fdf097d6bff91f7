"""A deadline costs nothing where nothing is waited for, and is kept where something is."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from fakes import story
from generic_connector.deadline import within


class Broken(Exception):  # noqa: N818 - what breaks, and not how
    pass


async def at_once() -> str:
    """Answer without waiting."""
    return "good"


async def after(seconds: float, said: str = "good") -> str:
    """Answer later."""
    await asyncio.sleep(seconds)
    return said


async def broken_at_once() -> str:
    """Break before any wait."""
    raise Broken


async def broken_later() -> str:
    """Break after a wait."""
    await asyncio.sleep(0.1)
    raise Broken


@pytest.mark.parametrize("asked", [at_once, lambda: after(0), lambda: after(4.9)], ids=["at once", "a turn", "in time"])
@story
async def test_what_comes_in_time_is_returned(asked: Callable[[], Awaitable[str]]) -> None:
    """Whether it was there already, took a turn of the loop, or nearly too long."""
    assert await within(5, asked()) == "good"


@story
async def test_what_is_there_already_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop hears of no deadline where nothing waits; it does where something does (the control)."""
    loop, timers = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def counted(when: float, *rest: Any, **more: Any) -> asyncio.TimerHandle:  # noqa: ANN401 - passed on
        timers.append(when)
        return call_at(when, *rest, **more)

    monkeypatch.setattr(loop, "call_at", counted)

    await within(5, at_once())
    assert timers == []

    await within(5, after(1))
    assert len(timers) == 2  # the wait's own, and the deadline


@story
async def test_what_takes_too_long_is_cancelled() -> None:
    """`TimeoutError`, after that many seconds; what was asked is told, and may clean up."""
    loop = asyncio.get_running_loop()
    began, cleaned = loop.time(), []

    async def slow() -> str:
        try:
            return await after(3600)
        finally:
            cleaned.append(loop.time() - began)

    with pytest.raises(TimeoutError):
        await within(5, slow())

    assert cleaned == [pytest.approx(5, abs=0.1)]


@story
async def test_without_a_deadline_it_may_take_any_time() -> None:
    """None is no deadline."""
    assert await within(None, after(3600)) == "good"


@pytest.mark.parametrize("asked", [broken_at_once, broken_later])
@story
async def test_an_error_comes_as_it_is(asked: Callable[[], Coroutine[Any, Any, str]]) -> None:
    """Raised in the first step or after a wait."""
    with pytest.raises(Broken):
        await within(5, asked())


@story
async def test_a_cancellation_goes_into_what_was_asked() -> None:
    """It may clean up, wait some more while it does, and even answer: as with a plain `await`."""
    steps: list[str] = []

    async def stubborn() -> str:
        try:
            return await after(3600)
        except asyncio.CancelledError:
            steps.append("told")
            return await after(1, "late")

    task = asyncio.get_running_loop().create_task(within(3600, stubborn()))
    await asyncio.sleep(1)
    task.cancel()

    assert (await task, steps) == ("late", ["told"])


@story
async def test_a_future_can_be_asked_too() -> None:
    """Anything that can be awaited, a future among it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_later(1, future.set_result, "good")

    assert await within(5, future) == "good"
