"""A token bucket: how rates are limited, of new payments by instance and of refused credentials by address."""


class Bucket:
    """`per_s` a second, `burst` at once. Its clock is the caller's."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_ms: int | None = None

    def take(self, now_ms: int) -> bool:
        """Take one if there is one."""
        if self._at_ms is not None:
            self._left = min(self._burst, self._left + max(0, now_ms - self._at_ms) / 1000 * self.per_s)
        self._at_ms = now_ms
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Undo a take."""
        self._left = min(self._burst, self._left + 1)
