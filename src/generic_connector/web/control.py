"""The control socket: how a command asks a running server to act.

A Unix socket in the home, for its owner alone (0600). One line of JSON asks, one line answers:

    {"act": "instance add", "arguments": {...}, "actor": "uid 1000"}
    {"result": ...}    or    {"refused": "what is wrong, and what to do next"}

The peer's user id is the kernel's word, not the command's. Passwords and access tokens pass through here
once, when they are made; nothing of it is logged.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from generic_connector.administration import Administration, RefusedError
from generic_connector.ports import Log
from generic_connector.scrub import scrub

LINE_BYTES_MAX = 1024 * 1024
_ANSWER_TIMEOUT_S = 120
_CREDENTIALS = struct.Struct("3i")


class NoServerError(Exception):
    """Nobody listens at the control socket: nothing was asked."""


class NoAnswerError(Exception):
    """The server was asked and did not answer: the act may have been done, or not. Nothing asks again by itself."""


async def serve_control(path: Path, administration: Administration, log: Log) -> asyncio.AbstractServer:
    """Listen on the control socket. The caller holds the home's lock, so a socket that is there is a dead one's."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            answer = await _answer(administration, line, _peer(writer), log)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything is served
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _in_its_directory(path, listener.bind, mode=0o177)
    return await asyncio.start_unix_server(converse, sock=listener, limit=LINE_BYTES_MAX)


async def _answer(administration: Administration, line: bytes, actor: str, log: Log) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        return {"result": await administration.do(asked["act"], asked["arguments"], actor)}
    except RefusedError as refused:
        return {"refused": scrub(str(refused))}
    except Exception as error:  # noqa: BLE001 - an act's bug must not end the server
        log("error", error=type(error).__name__, reason="control")
        return {"refused": f"the server could not do it ({type(error).__name__}): see its log"}


def _peer(writer: asyncio.StreamWriter) -> str:
    peer: socket.socket = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED"):
        return "control socket"
    _pid, uid, _gid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return f"uid {uid}"


def ask(path: Path, act: str, arguments: Mapping[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S) -> Any:  # noqa: ANN401 - JSON
    """Ask the server behind a control socket. Raises `RefusedError` (its words), `NoServerError`, `NoAnswerError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            _in_its_directory(path, connection.connect)
        except OSError as error:
            raise NoServerError(f"no server listens at {path} ({type(error).__name__})") from None
        try:
            connection.sendall(json.dumps({"act": act, "arguments": dict(arguments)}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
        except (OSError, ValueError):
            answer = {}
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    if "result" not in answer:
        raise NoAnswerError("the server did not answer, so this may or may not be done: look before you ask again")
    return answer["result"]


def _in_its_directory(path: Path, use: Callable[[str], None], mode: int | None = None) -> None:
    """Use a socket's path. The kernel takes about a hundred bytes; through the directory's descriptor any path fits."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    previous = None if mode is None else os.umask(mode)
    try:
        through = Path(f"/proc/self/fd/{directory}")
        use(str(through / path.name if through.exists() else path))
    finally:
        os.close(directory)
        if previous is not None:
            os.umask(previous)
