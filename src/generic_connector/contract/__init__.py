"""The contract: Twilio's wire, and the two carriers that speak nearly the same.

The only package that knows field names. Bytes come in and become a `Payment` or a `Refusal`; outcomes go out as the
bytes of a reply. Nothing here waits, reads a clock, or knows an instance's mode.

- `errors`: every error code, with its status, its advice and whether to try again: one table.
- `body`: bytes to a JSON object, strictly.
- `request`: an object to a payment, in each dialect.
- `reply`: an outcome to bytes.
"""
