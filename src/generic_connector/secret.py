"""Secrets: values that mask themselves.

A card number, a CVV, an account number, a password: each is a `Secret`, and a secret has one way out, `reveal()`.
Printing, formatting, comparing, pickling and copying it give nothing away, so that a forgotten log line, an f-string or
a traceback cannot leak what it never saw. One word unmasks; a test lists the files that may say it.

What this cannot do: erase memory. Python copies strings as it likes. Secrets are held for the length of one payment.
"""

import hmac
from typing import NoReturn, Self


class Secret:
    """A text that only `reveal()` shows. Equal in constant time, never hashed, never pickled."""

    __slots__ = ("_clear",)
    # A secret in a set or a dict would be compared in variable time.
    __hash__ = None  # type: ignore[assignment]  # typeshed does not know this idiom

    def __init__(self, clear: str) -> None:
        self._clear = clear

    def reveal(self) -> str:
        """Return the clear text. The only word that does: search for it in a review."""
        return self._clear

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._clear.encode(), other._clear.encode())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = f"{type(self).__name__} is a secret: it cannot be pickled or copied"
        raise TypeError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
