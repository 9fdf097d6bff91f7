"""Work: a task that belongs to the connector and not to a request, and the deliveries that wait for it.

A caller who hangs up cancels nothing. Deliveries of the same payment find the work of the first by its name, and share
it; whoever is left when it is done gets its answer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from generic_connector.answer import Answer
from generic_connector.ledger import Row

Name = tuple[int | str | bytes, ...]


class Work:
    """A task that belongs to the connector, and the deliveries that wait for it. To cancel one of those ends nothing.

    What `asyncio.shield` is for, with one callback for all who wait.
    """

    __slots__ = ("_name", "_unheard", "_waiting", "_works", "row", "task")

    def __init__(self, works: "dict[Name, Work]", name: Name, unheard: Callable[[Answer], None]) -> None:
        self.row: Row | None = None
        """The row, once it is claimed."""
        self._works = works
        self._name = name
        self._unheard = unheard
        self._waiting: list[asyncio.Future[Answer]] = []
        works[name] = self

    def begun(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Future[Answer]:
        """Begin; return the first delivery's answer."""
        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(self._done)
        return self.answer()

    def answer(self) -> asyncio.Future[Answer]:
        """Return one delivery's own future of the answer."""
        future: asyncio.Future[Answer] = self.task.get_loop().create_future()
        self._waiting.append(future)
        return future

    def _done(self, task: asyncio.Task[Answer]) -> None:
        del self._works[self._name]
        error = None if task.cancelled() else task.exception()
        still_there = [future for future in self._waiting if not future.done()]
        for future in still_there:
            if task.cancelled():
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())
        if not still_there and not task.cancelled() and error is None:
            self._unheard(task.result())
