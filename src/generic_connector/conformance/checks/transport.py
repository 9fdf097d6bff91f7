"""Transport: TLS that keeps card numbers to themselves, and HTTP that ends where it says it ends.

Card numbers go over the internet here. Twilio calls https:// addresses only, with a certificate that the public trusts;
what TLS may be is PCI's business and the RFCs'. Of HTTP/1.1 the kit asks what a client with a connection pool relies
on: that lengths are right, that two payments on one connection do not run into each other, and that only POST pays.
"""

import ssl
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.checks.answers import did_not_crash, did_not_pay, said
from generic_connector.conformance.probe import Probe

MUST, SHOULD = Level.MUST, Level.SHOULD
_HTTPS: Final = "Twilio: Generic Pay Connector, section on the endpoint (an https:// address)"
_PCI: Final = "PCI DSS 4.0.1, 4.2.1"
_LENGTH_REQUIRED: Final = 411

register = Register("transport")
check = register.check


def _host(probe: Probe) -> str:
    """The name in the address."""
    head = probe.request_bytes().decode("latin-1")
    authority = next(line for line in head.splitlines() if line.startswith("Host: ")).removeprefix("Host: ")
    return urlsplit(f"//{authority}").hostname or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _are_two(first: Reply, second: Reply) -> bool:
    """Whether both are successes, of two payments."""
    are_paid = first.is_success("charge") and second.is_success("charge")
    return are_paid and first.id("charge") != second.id("charge")


@check(
    1,
    MUST,
    claim="Is asked over HTTPS.",
    source=f"{_HTTPS}; {_PCI}",
    why="Over http:// everybody on the way reads the card number and the password.",
    sends="Nothing: the address tells.",
    expects="An address that begins with https://.",
    needs=[Need.SOCKET],
)
async def _https(probe: Probe) -> None:
    if probe.is_tls:
        return
    if _is_loopback(_host(probe)):
        raise NotAskable("The address is http:// on this machine: ask the public https:// address too.")
    raise Unmet(
        "The address begins with http://",
        expected="https://",
        fix="Serve TLS, or put a proxy that does in front, and give Twilio the https:// address.",
    )


@check(
    2,
    MUST,
    claim="Speaks TLS 1.2 or 1.3.",
    source=f"{_PCI}; RFC 9325, 3.1.1",
    why="Callers that refuse what is older cannot connect.",
    sends="A TLS handshake that offers 1.2 and 1.3.",
    expects="A connection with one of them.",
    needs=[Need.TLS],
)
async def _modern(probe: Probe) -> None:
    version = await probe.connect()
    if version not in {"TLSv1.2", "TLSv1.3"}:
        raise Unmet(f"Negotiated: {version or 'nothing'}", expected="TLSv1.2 or TLSv1.3", fix="Enable them.")


async def _refuses(probe: Probe, version: ssl.TLSVersion) -> None:
    negotiated = await probe.connect(version)
    if negotiated is not None:
        raise Unmet(
            f"A caller that knows nothing newer gets a connection with {negotiated}",
            expected="the handshake is refused",
            fix="Set the lowest version to TLS 1.2 (nginx: ssl_protocols TLSv1.2 TLSv1.3).",
        )


@check(
    3,
    MUST,
    claim="Refuses TLS 1.1.",
    source=f"{_PCI}; RFC 8996",
    why="It rests on MD5 and SHA-1. An attacker on the way can talk two sides down to the oldest they both take.",
    sends="A TLS handshake that offers 1.1 alone.",
    expects="A refusal.",
    needs=[Need.TLS],
)
async def _tls_1_1(probe: Probe) -> None:
    await _refuses(probe, ssl.TLSVersion.TLSv1_1)


@check(
    4,
    MUST,
    claim="Refuses TLS 1.0.",
    source=f"{_PCI}; RFC 8996",
    why="It rests on MD5 and SHA-1. An attacker on the way can talk two sides down to the oldest they both take.",
    sends="A TLS handshake that offers 1.0 alone.",
    expects="A refusal.",
    needs=[Need.TLS],
)
async def _tls_1_0(probe: Probe) -> None:
    await _refuses(probe, ssl.TLSVersion.TLSv1)


@check(
    5,
    MUST,
    claim="Has a certificate that callers trust.",
    source=f"{_HTTPS}; RFC 9110, 4.3.4",
    why="Twilio refuses the connection, and every payment fails. Often the intermediate certificate is left out:"
    " browsers forgive that, servers do not.",
    sends="A TLS handshake that verifies the chain and the name.",
    expects="A chain up to an authority in the system's store, or in the file given with --ca.",
    needs=[Need.TLS],
)
async def _trusted(probe: Probe) -> None:
    problem = await probe.certificate_problem()
    if problem is not None and "certificate" not in problem:
        raise NotAskable(f"No certificate was seen, because {problem}: see transport/2.")
    if problem is not None:
        raise Unmet(
            f"The certificate is refused: {problem}",
            expected="a certificate for this name, in its time, with all intermediates, from a known authority",
            fix="Send the whole chain (fullchain.pem), for this host name. For an authority of your own: --ca FILE.",
        )


@check(
    6,
    MUST,
    claim="Answers two payments on one connection, each with its own answer, or says that it closes.",
    source="RFC 9112, 9.3 and 9.6",
    why="Clients keep connections. What is left over of the first request or answer spoils the second payment.",
    sends="Two charges, one after the other, on one connection.",
    expects="Two successes with two ids; or one with Connection: close.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _keep_alive(probe: Probe) -> None:
    alone = await probe.post(probe.charge())
    probe.need_success(alone, "charge")
    first, second = await probe.same_connection([probe.charge(), probe.charge()])
    if first.is_success("charge") and second.failure and "close" in first.headers.get("connection", "").lower():
        return
    if not _are_two(first, second):
        raise Unmet(
            f"On one connection: {said(first)}, then {said(second)}",
            expected="two successes with two ids, or Connection: close with the first answer",
            fix="Read the whole body of a request before the next, and give each answer its right Content-Length. Where"
            " you do close, say Connection: close.",
        )


@check(
    7,
    SHOULD,
    claim="Answers requests that were sent ahead on one connection, in their order.",
    source="RFC 9112, 9.3.2",
    why="An answer for the first payment that arrives as the second's is the worst mistake there is.",
    sends="Two charges on one connection, the second before the first is answered.",
    expects="Two successes with two ids; or one, and the connection is closed.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _pipelined(probe: Probe) -> None:
    alone = await probe.post(probe.charge())
    probe.need_success(alone, "charge")
    first, second = await probe.pipeline([probe.charge(), probe.charge()])
    is_one = first.is_success("charge") and second.failure is not None and "timed out" not in second.failure
    if not is_one and not _are_two(first, second):
        raise Unmet(
            f"Sent ahead: {said(first)}, then {said(second)}",
            expected="two successes in their order; or one, and the connection closed",
            fix="Handle one request of a connection after the other, or close after the first.",
        )


@check(
    8,
    SHOULD,
    claim="Takes a body in chunks, or says that it wants a length.",
    source="RFC 9112, 7.1; RFC 9110, 15.5.12",
    why="A proxy on the way may pass a body on in chunks. Then the body looks empty to who reads Content-Length alone.",
    sends="A charge with Transfer-Encoding: chunked, in three chunks.",
    expects="A success, or 411.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _chunked(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge()), "charge")
    head, _blank, body = probe.request_bytes(probe.charge()).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    size = -(-len(body) // 3)
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    reply = await probe.raw([b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + coded])
    if not reply.is_success("charge") and reply.status != _LENGTH_REQUIRED:
        raise Unmet(f"A body in chunks: {said(reply)}", expected="a success, or 411", fix="Read chunked bodies too.")


@check(
    9,
    MUST,
    claim="Refuses a request with two different lengths.",
    source="RFC 9112, 6.3: it must be answered with 400, or closed",
    why="Two servers in a row cut such a stream at two places, and a stranger's bytes begin somebody else's request.",
    sends="A charge with two Content-Length headers that differ.",
    expects="An answer below 500 without an id, or a connection that is closed.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _two_lengths(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge()), "charge")
    head, _blank, body = probe.request_bytes(probe.charge()).partition(b"\r\n\r\n")
    reply = await probe.raw([head + b"\r\nContent-Length: 3\r\n\r\n" + body])
    fix = "Use an HTTP server that refuses it: most do by themselves."
    did_not_crash(reply, "Two Content-Length headers", fix=fix, may_close=True)
    did_not_pay(reply, "Two Content-Length headers were paid", fix=fix)


@check(
    10,
    MUST,
    claim="Charges by POST alone.",
    source="Twilio: Generic Pay Connector, section Request; RFC 9110, 9.2.1",
    why="GET, HEAD and OPTIONS are safe by their definition: proxies and crawlers send and repeat them as they like.",
    sends="The body of a charge with GET, HEAD, OPTIONS, PUT and DELETE; then another amount by POST under each one's"
    " transaction_id.",
    expects="Answers below 500 without an id, best 405; and the POST is a success.",
    needs=[Need.CHARGE],
)
async def _post_alone(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge(amount=probe.profile.amounts.other)), "charge")
    fix = "Answer 405, with Allow: POST, to every other method, before the body is read."
    for verb in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        body = probe.charge()
        reply = await probe.post(body, verb=verb)
        did_not_crash(reply, verb, fix=fix)
        did_not_pay(reply, f"{verb} was paid", fix=fix)
        other = probe.charge(transaction_id=body["transaction_id"], amount=probe.profile.amounts.other)
        after = await probe.post(other)
        if not after.is_success("charge"):
            raise Unmet(
                f"After {verb}, another amount by POST under its transaction_id: {said(after)}",
                expected=f"a success: {verb} does nothing",
                fix=fix,
            )


@check(
    11,
    MUST,
    claim="Closes the connection after its answer where the caller says Connection: close.",
    source="RFC 9112, 9.6",
    why="Twilio's side may wait for the end of the connection to know that the answer is whole.",
    sends="A charge with Connection: close.",
    expects="A success, whole, and the connection ends.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _closes(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge()), "charge")
    last = {"Connection": "close"}
    requests = [probe.request_bytes(probe.charge(), headers=last), probe.request_bytes(probe.charge())]
    first, second = await probe.raw_replies([b"".join(requests)], replies=2)
    if not first.is_success("charge") or second.failure is None or "timed out" in second.failure:
        raise Unmet(
            f"A charge with Connection: close, and another one behind it: {said(first)}, then {said(second)}",
            expected="a success, and then a connection that is closed",
            fix="Close after the answer when the request says Connection: close.",
        )


@check(
    12,
    SHOULD,
    claim="Sends an answer as it is, without a coding that nobody asked for.",
    source="RFC 9110, 12.5.3",
    why="Twilio's request does not say that it can read gzip.",
    sends="A charge without Accept-Encoding.",
    expects="No Content-Encoding.",
    needs=[Need.CHARGE],
)
async def _no_coding(probe: Probe) -> None:
    reply = await probe.post(probe.charge())
    if reply.failure:
        raise NotAskable(f"A plain charge is not answered: {reply.shown}.")
    coding = reply.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise Unmet(f"Content-Encoding: {coding[:20]}", expected="none", fix="Compress only for who accepts it.")
