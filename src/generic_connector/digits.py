r"""Digits: `0` to `9`, and nothing else.

`\d`, `str.isdigit`, `int` and most libraries also take the digits of other scripts, full-width ones among
them. A card number is ASCII, so that is asked first, before any pattern or library sees the text.
"""


def is_digits(text: str) -> bool:
    """Whether `text` is one or more ASCII digits and nothing else."""
    return text.isascii() and text.isdigit()
