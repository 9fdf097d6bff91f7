"""The sandbox: a small, durable bank inside the gateway. The default processor, for everything but real money.

With it every path of a payment can be played, from TwiML through `<Parameter>`, by the amount, or by a fault set on
the command line: approvals, each decline, delays, answers that are lost before or after the money moved. It is a bank
and no mock: it has a book on disk, says no more than the book says, and keeps its word over restarts.

- `outcome`: what a send is to meet. Faults, then parameters, then the amount. Pure.
- `book`: what has been captured and declined, the faults, the statement. One SQLite file, `sandbox.db` in the home.
- `processor`: the bank at work: `ports.Processor`.

It is for one process: what is in flight is known in memory only.
"""

from generic_connector.processors.sandbox.book import StatementLine, migrations, read_faults, statement
from generic_connector.processors.sandbox.outcome import DELAY_MS_MAX, Fault, FaultKind, InvalidFaultError
from generic_connector.processors.sandbox.processor import HOLD_S, SandboxProcessor, book_path, create

__all__ = [
    "DELAY_MS_MAX",
    "HOLD_S",
    "Fault",
    "FaultKind",
    "InvalidFaultError",
    "SandboxProcessor",
    "StatementLine",
    "book_path",
    "create",
    "migrations",
    "read_faults",
    "statement",
]
