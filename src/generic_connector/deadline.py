"""A deadline for something awaited, which costs nothing where nothing is waited for.

`asyncio.timeout` sets a timer on the way in and cancels it on the way out, and much of what has a deadline here answers
at once: the sandbox's verification, a look-up in a book at hand. So the first step is taken first, and only what then
waits gets a timer.
"""

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

Told = TypeVar("Told")
Steps = Generator[Any, Any, Told]
"""What is left to do of something awaited."""


async def within(seconds: float | None, asked: Awaitable[Told]) -> Told:
    """Return what `asked` returns. Raises `TimeoutError` where it takes longer than that; None: no deadline."""
    steps = asked.__await__()
    told: Told
    try:
        waited_for = next(steps)
    except StopIteration as done:
        told = done.value
        return told
    async with asyncio.timeout(seconds):
        told = await _Rest(steps, waited_for)
    return told


class _Rest:
    """What is left of a coroutine that has begun to wait for something."""

    __slots__ = ("_steps", "_waited_for")

    def __init__(self, steps: Steps[Told], waited_for: object) -> None:
        self._steps = steps
        self._waited_for = waited_for

    def __await__(self) -> Steps[Any]:
        """Wait for that, and go on: each value goes to the event loop, each error into the coroutine."""
        steps, waited_for = self._steps, self._waited_for
        try:
            while True:
                try:
                    sent = yield waited_for
                except BaseException as error:  # noqa: BLE001 - a cancellation among them: it is the coroutine's to take
                    waited_for = steps.throw(error)
                else:
                    waited_for = steps.send(sent)
        except StopIteration as done:
            return done.value
