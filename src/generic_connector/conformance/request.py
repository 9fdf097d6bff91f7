"""A request: a body and what surrounds it, as the bytes that go over a line.

A request is what Twilio's client writes: its headers in its order, its User-Agent, no Content-Type, a Content-Length,
the credentials unasked. A check may change every part of that, or ask for the bytes and break them. The rules:

- A mapping is written as JSON, a text as UTF-8, bytes as they are. Half a surrogate pair is let through: it is for the
  endpoint to refuse.
- Whatever is in a body is learned by the mask when the request is written, and so before anything of it is sent.
- Bytes that a check gets to see hold `{AUTH}` where the run's credentials belong. They are put in while the bytes are
  sent, wherever a check may have cut them.
- What is shown of a request is its text with plain line ends, and a line for what is no byte: a pause, or the end.

Nothing here waits or is sent; see `probe`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from generic_connector.conformance.mask import Mask
from generic_connector.conformance.visit import DEFAULT, Credentials, Visit

USER_AGENT: Final = "AHC/2.1"
AUTH: Final = b"{AUTH}"
"""Stands in raw bytes for the value of the Authorization header, and is replaced while they are sent."""

_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_PIECES_SHOWN_MAX: Final = 100
_PIECE_SHOWN_MAX: Final = 64 * 1024


class Piece(Enum):
    """What may stand between raw bytes, besides pauses."""

    END = "end"
    """Say that nothing more comes, and go on listening. Over TLS it is left unsaid."""


END: Final = Piece.END
Pieces = Sequence[bytes | float | Piece]
"""Raw bytes, and what stands between them: pauses of so many seconds, and an end."""
Body = Mapping[str, object] | str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a request is to be written."""

    path: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    credentials: Credentials = field(default=DEFAULT, repr=False)
    content_type: str | None = None
    verb: str = "POST"
    version: str = "1.1"
    has_placeholder: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to go."""

    data: bytes = field(repr=False)
    shown: str = field(repr=False)
    verb: str
    target: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False)


def written(visit: Visit, body: Body, how: How) -> Request:
    """Return a request, written. The mask knows what is in it from here on."""
    content = _content(body)
    learn(visit.mask, body)
    authorization = visit.header_of(how.credentials)
    if how.has_placeholder and authorization is not None and how.credentials in (DEFAULT, "default"):
        authorization = AUTH.decode()
    given: dict[str, str | None] = {
        "Host": visit.authority,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Content-Type": how.content_type,
        "Authorization": authorization,
        "Content-Length": str(len(content)) if content or how.verb in _WITH_BODY else None,
    }
    for name, value in how.headers.items():
        known = next((key for key in given if key.lower() == name.lower()), name)
        given[known] = value
    headers = [(name, value) for name, value in given.items() if value is not None]
    path = f"{visit.path.rstrip('/')}{how.path}" if how.path else visit.path
    target = f"{path}{visit.query}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"{how.verb} {target} HTTP/{how.version}\r\n{lines}\r\n"
    shown = head.replace("\r\n", "\n") + content.decode("utf-8", "replace")
    return Request(head.encode("utf-8") + content, shown, how.verb, target, headers, content)


def learn(mask: Mask, body: Body) -> None:
    """Tell the mask what is in a body."""
    match body:
        case None:
            return
        case str():
            mask.learn_text(body)
        case bytes():
            mask.learn_text(body.decode("utf-8", "replace"))
        case _:
            mask.learn_body(body)


def with_credentials(pieces: Pieces, authorization: bytes) -> Pieces:
    """Put the credentials in, also where a piece ends in the middle of the word that stands for them."""
    filled: list[bytes | float | Piece] = []
    line, held = b"", b""
    for piece in pieces:
        if not isinstance(piece, bytes):
            filled += [held, piece] if piece is END else [piece]
            held = b"" if piece is END else held
            continue
        text = (held + piece).replace(AUTH, authorization)
        line = (line + text).rpartition(b"\n")[2]
        is_header = line.lower().startswith(b"authorization:")
        cut = next((size for size in range(len(AUTH) - 1, 0, -1) if is_header and text.endswith(AUTH[:size])), 0)
        held = text[len(text) - cut :]
        line = line[: len(line) - cut]
        filled.append(text[: len(text) - cut])
    if held:
        filled.append(held)
    return filled


def pieces_shown(pieces: Pieces) -> str:
    """Return raw bytes as they can be read. What was sent in one go stands on; a pause has a line of its own."""
    lines: list[str] = []
    for piece in pieces[:_PIECES_SHOWN_MAX]:
        match piece:
            case bytes():
                lines.append(piece[:_PIECE_SHOWN_MAX].decode("utf-8", "replace").replace("\r\n", "\n"))
            case Piece.END:
                lines.append("\n(nothing more is sent)\n")
            case _:
                lines.append(f"\n(pause of {piece:g} s)\n")
    return "".join(lines)


def verb_of(data: bytes) -> str:
    """Return the method that raw bytes begin with: a HEAD is answered without a body."""
    start = data[:16].partition(b" ")[0]
    return start.decode("ascii") if start.isalpha() and start.isascii() else "POST"


def _content(body: Body) -> bytes:
    match body:
        case None:
            return b""
        case bytes():
            return body
        case str():
            return body.encode("utf-8", "surrogatepass")
        case _:
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "surrogatepass")
