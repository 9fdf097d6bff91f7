"""Recovery: rows that nobody is at work on any more, and rows in doubt.

It only looks up, ever: only a retry brings the card and the CVV again, so only a retry may send. Rows younger than two
minutes are left to it. Where no look-up can tell, a person says what became of a payment, and how it is known.
"""

from collections.abc import Mapping

from generic_connector.answer import Answer, How
from generic_connector.instance import Instance
from generic_connector.ledger import Row, State
from generic_connector.outcome import Outcomes
from generic_connector.payment import Approved, NotFound, Unknown
from generic_connector.ports import Clock, Log, Processor, Store
from generic_connector.telemetry import places

LEFT_TO_THE_RETRY_MS = 120_000
"""Recovery leaves younger rows alone: Twilio's retry, which brings the card, can do more."""


class Recovery:
    """Settles what was left behind."""

    def __init__(
        self,
        *,
        store: Store,
        outcomes: Outcomes,
        processors: Mapping[str, Processor],
        instances: Mapping[int, Instance],
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._processors = processors
        self._instances = instances
        self._clock = clock
        self._log = log

    async def reconcile(self, *, older_than_ms: int = LEFT_TO_THE_RETRY_MS) -> Mapping[str, State]:
        """Look up every row that is in doubt, or whose owner is dead. Returns the rows it saw, and where they stand.

        Sends nothing, ever.
        """
        seen: dict[str, State] = {}
        for row in await self._store.unsettled(claimed_before_ms=self._clock() - older_than_ms):
            try:
                seen[row.id] = await self._reconcile_one(row)
            except Exception as error:  # noqa: BLE001 - the next round meets it again, and the others have theirs now
                self._log(
                    "error_after_claim", charge_id=row.id, error=type(error).__name__, where=places(error.__traceback__)
                )
                seen[row.id] = row.state
        return seen

    async def _reconcile_one(self, row: Row) -> State:
        if row.state is State.RUNNING:
            if self._clock() < row.lease_until_ms:
                return row.state
            processor = self._processors.get(row.processor)
            # What the dead owner sent may be on its way: judge by the lease that it had, not by the next.
            found = None if processor is None else await self._outcomes.find_out(processor, row)
            taken = await self._outcomes.take_over(row)
            if taken is None:
                return row.state
            row, result = taken, found if found is not None else Unknown("the processor is not configured")
        else:
            processor = self._processors.get(row.processor)
            if processor is None:
                return row.state
            result = await self._outcomes.find_out(processor, row)
            if isinstance(result, Unknown):
                return row.state
        answer = await self._outcomes.record(row, result, self._instances[row.instance_id], How.LOOKED_UP)
        state = row.state if answer.row is None else answer.row.state
        self._outcomes.note(row, "reconciled", self._clock(), row.request_id)
        self._log("settled", charge_id=row.id, state=state, by="reconcile")
        return state

    async def settle(self, row: Row, *, captured: bool, by: str) -> Answer | None:
        """Say what a person found out about a row, where no look-up can. None where the row is not unsettled."""
        if row.state is State.RUNNING and self._clock() >= row.lease_until_ms:
            taken = await self._outcomes.take_over(row)
            row = row if taken is None else taken
        elif row.state is not State.IN_DOUBT:
            return None
        result: Approved | NotFound = Approved() if captured else NotFound()
        answer = await self._outcomes.record(
            row, result, self._instances[row.instance_id], How.LOOKED_UP, settled_by=by
        )
        self._log("settled", charge_id=row.id, state=_state(answer), by="operator")
        return answer


def _state(answer: Answer) -> str | None:
    return None if answer.row is None else answer.row.state.value
