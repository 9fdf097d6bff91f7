"""Credentials: who may charge, and who may not even ask.

Twilio sends a username and a password with every request (HTTP Basic, unasked). Each check here sends a payment that
would succeed, with credentials that are wrong in one particular way, and looks whether money moved. Wrong ones must be
refused, in the form of an answer: a crash on a garbled header is a way in for whoever wants the endpoint down.

The right password is never sent but as the right password, with two exceptions that say so: a wrong one that contains
it (auth/13, auth/14), and the one that is put where it does not belong (auth/17).
"""

import asyncio
import base64
from typing import Final
from urllib.parse import urlencode

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.checks.answers import did_not_crash, did_not_pay, on_any_footing, paid, said
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.visit import OTHER

MUST, SHOULD = Level.MUST, Level.SHOULD
_BASIC: Final = "Twilio: Generic Pay Connector, section on authentication (HTTP Basic)"
_RFC_BASIC: Final = "RFC 7617, section 2"
_WRONG_ATTEMPTS: Final = 30
_TOO_MANY: Final = 429
_UNAUTHORIZED: Final = 401
_PAUSES: Final = 6

_FIX: Final = (
    "Ask for the credentials before anything else, on every path and for every method, and answer 401 where they are"
    " absent or wrong."
)
_PARSE: Final = (
    "Treat an Authorization header that cannot be read as a wrong one: answer 401. Decode base64 and UTF-8 where"
    " failures are caught."
)

register = Register("auth")
check = register.check


async def _basis(probe: Probe) -> None:
    """Charge with the right credentials: an endpoint that refuses everybody would else pass for a careful one."""
    probe.need_success(await probe.post(probe.charge()), "charge")


async def _refused(probe: Probe, what: str, authorization: str | None, *, fix: str = _FIX) -> None:
    """A charge with this header must not be paid, and must be answered. The same with the right one is paid."""
    _is_not_by_address(probe)
    await _basis(probe)
    headers = {} if authorization is None else {"Authorization": authorization}
    _judge(await probe.post(probe.charge(), credentials=None, headers=headers), what, fix=fix)


def _judge(reply: Reply, what: str, *, fix: str = _FIX) -> None:
    did_not_crash(reply, what, fix=_PARSE)
    did_not_pay(reply, what, fix=fix)


def _is_not_by_address(probe: Probe) -> None:
    """Raise NotAskable where the caller is known by the address alone."""
    if probe.dialect == "signalwire" and not probe.has(Need.CREDENTIALS):
        raise NotAskable("The credentials are in the address: SignalWire sends no others.")


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def _own(probe: Probe) -> tuple[str, str]:
    """The right credentials."""
    if probe.username is None or probe.password is None:
        raise NotAskable("No username and password were given.")
    return probe.username, probe.password.reveal()


def _other_password(probe: Probe) -> str:
    """The second instance's password, read out of a request of its own."""
    head = probe.request_bytes(credentials=OTHER).decode("latin-1")
    coded = next(line for line in head.splitlines() if line.startswith("Authorization: Basic "))
    return base64.b64decode(coded.rpartition(" ")[2]).decode().partition(":")[2]


@check(
    1,
    MUST,
    claim="Refuses a charge that brings no credentials.",
    source=_BASIC,
    why="Anybody who finds the address could try stolen cards on it.",
    sends="A good charge without an Authorization header.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE],
)
async def _absent(probe: Probe) -> None:
    await _refused(probe, "A charge without credentials", None)


@check(
    2,
    MUST,
    claim="Refuses a wrong password.",
    source=_BASIC,
    why="A password that is not compared is none.",
    sends="A good charge with the right username and a wrong password.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _wrong_password(probe: Probe) -> None:
    await _refused(probe, "A charge with a wrong password", _basic(f"{_own(probe)[0]}:not-{probe.new_id()}"))


@check(
    3,
    MUST,
    claim="Refuses a username that it does not know.",
    source=_BASIC,
    why="Who compares the password alone lets every merchant in as any other, and a guess counts for all of them.",
    sends="A good charge with a username made up and the right password.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _wrong_username(probe: Probe) -> None:
    await _refused(probe, "A charge with an unknown username", _basic(f"not-{probe.new_id()}:{_own(probe)[1]}"))


@check(
    4,
    MUST,
    claim="Refuses credentials that are not base64, and answers.",
    source=_RFC_BASIC,
    why="Decoding what strangers send fails now and then. A failure that nobody catches is a 500, or worse, a way in.",
    sends="Good charges with `Basic` and: no base64, base64 cut short, and bytes that are not UTF-8.",
    expects="Answers below 500 without an id, best 401.",
    needs=[Need.CHARGE],
)
async def _garbled(probe: Probe) -> None:
    for garbled in ("Basic !!!not-base64!!!", "Basic YTpi=Y", "Basic gICA/w=="):
        await _refused(probe, f"A charge with {garbled!r}", garbled)


@check(
    5,
    MUST,
    claim="Refuses credentials without a colon, and answers.",
    source=_RFC_BASIC,
    why="Splitting at a colon that is not there fails, or takes the username for the whole.",
    sends="A good charge with the right username, in base64, with no colon and no password.",
    expects="An answer below 500 without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _no_colon(probe: Probe) -> None:
    await _refused(probe, "A charge whose credentials have no colon", _basic(_own(probe)[0]))


@check(
    6,
    MUST,
    claim="Refuses empty credentials, and answers.",
    source=_RFC_BASIC,
    why="An empty text equals a password that was never set.",
    sends="Good charges with an empty Authorization header, with `Basic` alone, with a colon alone, and with the right"
    " username and an empty password.",
    expects="Answers below 500 without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _empty(probe: Probe) -> None:
    username, _password = _own(probe)
    for what, empty in (
        ("an empty Authorization header", ""),
        ("`Basic` alone", "Basic"),
        ("an empty username and password", _basic(":")),
        ("an empty password", _basic(f"{username}:")),
    ):
        await _refused(probe, f"A charge with {what}", empty)


@check(
    7,
    MUST,
    claim="Refuses a scheme that is not the one agreed upon.",
    source=f"{_BASIC}; RFC 9110, 11.6.2",
    why="An endpoint that looks for the header, and not into it, lets everybody in.",
    sends="Good charges with a made-up `Bearer` token, a `Digest`, and a word alone.",
    expects="Answers below 500 without an id, best 401.",
    needs=[Need.CHARGE],
)
async def _other_scheme(probe: Probe) -> None:
    token = probe.new_id().replace("-", "")
    for other in (f"Bearer {token}", f'Digest username="{token}", response="{token}"', "Basics", token):
        await _refused(probe, f"A charge with the scheme {other.partition(' ')[0][:6]!r}", other)


@check(
    8,
    MUST,
    claim="Answers a password with letters outside ASCII, and refuses it where it is wrong.",
    source=_RFC_BASIC,
    why="Comparing such a text in constant time fails in some languages, and a failure is a 500 for anybody who asks.",
    sends="Good charges with the right username and passwords of other scripts, in UTF-8 and in Latin-1.",
    expects="Answers below 500 without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _non_ascii(probe: Probe) -> None:
    username, _password = _own(probe)
    latin = base64.b64encode(username.encode() + b":p\xe4ssw\xf6rter").decode()
    await _refused(probe, "A charge with a password of other scripts", _basic(f"{username}:pässwörter-密码-🔑"))
    await _refused(probe, "A charge with a password in Latin-1", f"Basic {latin}")


@check(
    9,
    MUST,
    claim="Refuses one instance's username with another instance's password.",
    source=f"{_BASIC}; each instance has its own",
    why="A merchant could charge in another merchant's name.",
    sends="A good charge with this instance's username and the other's password.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC, Need.OTHER],
)
async def _crossed(probe: Probe) -> None:
    crossed = f"{_own(probe)[0]}:{_other_password(probe)}"
    await _refused(probe, "A charge with the other instance's password", _basic(crossed))


@check(
    10,
    MUST,
    claim="Refuses a tokenize that brings no credentials, or wrong ones.",
    source=_BASIC,
    why="Tokenizing is often another handler, and the credentials are forgotten on it: a free test of stolen cards.",
    sends="Two good tokenize requests: without an Authorization header, and with a wrong password.",
    expects="Answers without an id, best 401.",
    needs=[Need.TOKENIZE],
)
async def _tokenize(probe: Probe) -> None:
    _is_not_by_address(probe)
    probe.need_success(await probe.post(probe.tokenize()), "tokenize")
    wrong = {"Authorization": _basic(f"nobody:{probe.new_id()}")}
    _judge(await probe.post(probe.tokenize(), credentials=None), "A tokenize without credentials")
    _judge(await probe.post(probe.tokenize(), credentials=None, headers=wrong), "A tokenize with wrong credentials")


@check(
    11,
    MUST,
    claim="Asks for credentials on the older paths /charge and /tokenize too, where they answer.",
    source=f"{_BASIC}; Twilio's changelog of March 2022 (the paths before)",
    why="A path that nobody uses any more is a path that nobody guards.",
    sends="Good requests to /charge and /tokenize below the address, without an Authorization header.",
    expects="Answers without an id, best 401 or 404.",
)
async def _older_paths(probe: Probe) -> None:
    _is_not_by_address(probe)
    for path, body in (("/charge", probe.charge()), ("/tokenize", probe.tokenize())):
        _judge(await probe.post(body, path=path, credentials=None), f"{path} without credentials")


@check(
    12,
    SHOULD,
    claim="Answers 401 to a wrong password.",
    source="RFC 9110, 15.5.2",
    why="Any other status sends whoever set up the connector looking for the mistake in the wrong place.",
    sends="A good charge with a wrong password.",
    expects="The status 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _is_401(probe: Probe) -> None:
    reply = await _wrong(probe)
    if reply.status != _UNAUTHORIZED:
        raise Unmet(f"A wrong password: {said(reply)}", expected="the status 401", fix=_FIX)


async def _wrong(probe: Probe) -> Reply:
    """Send a wrong password; where too many came just before, wait, and ask again."""
    reply = await probe.post(probe.charge(), credentials=("nobody", probe.new_id()))
    for _pause in range(_PAUSES):
        if reply.status != _TOO_MANY:
            return reply
        await asyncio.sleep(0.5)
        reply = await probe.post(probe.charge(), credentials=("nobody", probe.new_id()))
    raise NotAskable("Wrong credentials are answered with 429 for long: too many came before.")


@check(
    13,
    MUST,
    claim="Takes the whole password, and not a part of it or more than it.",
    source=_RFC_BASIC,
    why="A comparison that stops early lets a password be guessed letter by letter.",
    sends="Good charges with the right password without its last letter, with a letter more, and in the other case.",
    expects="Answers without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _whole_password(probe: Probe) -> None:
    username, password = _own(probe)
    for what, almost in (
        ("without its last letter", password[:-1]),
        ("with a letter more", password + "x"),
        ("in the other case", password.swapcase()),
    ):
        if almost != password:
            await _refused(probe, f"A charge with the password {what}", _basic(f"{username}:{almost}"))


@check(
    14,
    MUST,
    claim="Takes colons as part of the password.",
    source=_RFC_BASIC,
    why="Splitting at every colon cuts passwords short: what is behind the second colon is never compared.",
    sends="A good charge with the right username and the right password, then a colon and more.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _colon(probe: Probe) -> None:
    username, password = _own(probe)
    fix = "Split the decoded text at its first colon only: the rest is the password."
    await _refused(probe, "A charge with the password, a colon and more", _basic(f"{username}:{password}:x"), fix=fix)


@check(
    15,
    MUST,
    claim="Tells the outcome of a payment to nobody without credentials.",
    source=_BASIC,
    why="Where retries are looked up before credentials, whoever knows a transaction_id hears what was paid.",
    sends="A good charge, and after its answer the same request without an Authorization header.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE],
)
async def _replay(probe: Probe) -> None:
    _is_not_by_address(probe)
    body = probe.charge()
    probe.need_success(await probe.post(body), "charge")
    _judge(await probe.post(body, credentials=None), "The retry of a charge without credentials")


@check(
    16,
    MUST,
    claim="Keeps nothing of a request whose credentials were refused.",
    source=_BASIC,
    why="Else a stranger uses up transaction_ids, and a mistyped password in the console spoils a payment.",
    sends="A charge with a wrong password, and after its answer the same request with the right one.",
    expects="A success.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _nothing_kept(probe: Probe) -> None:
    body = probe.charge()
    await _basis(probe)
    refused = await probe.post(body, credentials=(_own(probe)[0], probe.new_id()))
    if paid(refused, "charge") is not None:
        raise NotAskable("A wrong password is let in: see auth/2.")
    right = await probe.post(body)
    if not right.is_success("charge"):
        raise Unmet(
            f"After a refused password, the right one: {said(right)}",
            expected="a success",
            fix="Ask for the credentials before the transaction_id is looked up or claimed.",
        )


@check(
    17,
    SHOULD,
    claim="Does not take credentials from the address.",
    source="RFC 9110, 17.9; PCI DSS 4.0.1, 8.3.2",
    why="Addresses are written into the logs of every proxy on the way.",
    sends="A good charge to a test endpoint, without an Authorization header and with the right username and password"
    " in the query.",
    expects="An answer without an id, best 401.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _query(probe: Probe) -> None:
    if probe.profile.endpoint.mode == "live":
        raise NotAskable("A live password is not put where a log might keep it.")
    await _basis(probe)
    username, password = _own(probe)
    query = urlencode({"username": username, "password": password})
    own_path = probe.request_bytes().split(b" ", 2)[1].decode().partition("?")[0]
    path = f"/?{query}" if own_path.endswith("/") else f"?{query}"
    reply = await probe.post(probe.charge(), path=path, credentials=None)
    _judge(
        reply, "A charge with the credentials in the address", fix="Read the Authorization header, and nothing else."
    )


@check(
    18,
    MUST,
    claim="A 401 says which credentials are wanted.",
    source="RFC 9110, 15.5.2: a 401 must carry WWW-Authenticate",
    why="Callers that send credentials only when they are asked for never send them.",
    sends="A good charge with a wrong password.",
    expects="The header WWW-Authenticate, with the scheme Basic.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _challenge(probe: Probe) -> None:
    reply = await _wrong(probe)
    if reply.status != _UNAUTHORIZED:
        raise NotAskable(f"A wrong password is not answered with 401: {said(reply)}.")
    if "basic" not in reply.headers.get("www-authenticate", "").lower():
        raise Unmet(
            "The 401 has no WWW-Authenticate header that names Basic.",
            expected='something like: WWW-Authenticate: Basic realm="payments", charset="UTF-8"',
            fix="Send WWW-Authenticate with every 401.",
        )


@check(
    19,
    SHOULD,
    claim="Knows the scheme however it is written: basic, Basic or BASIC.",
    source="RFC 9110, 11.1: schemes are compared without case",
    why="A proxy on the way may write it in its own manner.",
    sends="A good charge with the right credentials, and `basic` in lower case.",
    expects="A success.",
    needs=[Need.CHARGE, Need.BASIC],
)
async def _scheme_case(probe: Probe) -> None:
    await _basis(probe)
    username, password = _own(probe)
    lower = _basic(f"{username}:{password}").replace("Basic", "basic")
    reply = await probe.post(probe.charge(), credentials=None, headers={"Authorization": lower})
    if not reply.is_success("charge"):
        raise Unmet(f"The scheme in lower case: {said(reply)}", expected="a success", fix="Compare it without case.")


@check(
    20,
    MUST,
    claim="Lets the right password in after many wrong ones.",
    source=f"{_BASIC}; what Twilio sends must be heard",
    why="Who can lock a merchant's connector by guessing badly can stop that merchant's sales.",
    sends=f"{_WRONG_ATTEMPTS} charges with the right username and wrong passwords, then one with the right password.",
    expects="A success.",
    needs=[Need.CHARGE, Need.BASIC],
    seconds=3,
    is_alone=True,
)
async def _after_wrong_ones(probe: Probe) -> None:
    await _basis(probe)
    username, _password = _own(probe)
    for _attempt in range(_WRONG_ATTEMPTS):
        await probe.post(probe.charge(), credentials=(username, probe.new_id()))
    reply = await probe.post(probe.charge())
    if not reply.is_success("charge"):
        raise Unmet(
            f"After {_WRONG_ATTEMPTS} wrong passwords, the right one: {said(reply)}",
            expected="a success",
            fix="Slow down or refuse wrong credentials only. Check the password first, and count only those that are"
            " wrong.",
        )


on_any_footing(register)
