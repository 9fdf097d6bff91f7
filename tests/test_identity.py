"""Who is calling: passwords, access tokens and path secrets over a real TLS socket, and what a guesser is told."""

import ast
import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from caller import ask, basic, charge, events, new_transaction_id, tokenize, until
from generic_connector import identity
from generic_connector.custody.file import FileKek
from generic_connector.envelope import Key, Purpose, credential_hash
from generic_connector.identity import PASSWORD, Directory, Throttle
from generic_connector.keyring import Keyring
from generic_connector.ports import Act, Credential
from serving import HandClock, Served, serve_gateway

BURST, PER_S = 20, 5
Header = Callable[[Served], str | None]


@pytest.fixture(scope="module", autouse=True)
def _other_instance(gateway: Served) -> None:
    """Beside `Default`: another instance with credentials of its own."""
    gateway.add("Other")


@pytest.fixture(autouse=True)
def _forgiven(gateway: Served) -> None:
    """Refused credentials of earlier tests do not count against the next."""
    gateway.clock.forward(BURST / PER_S)


def pay(served: Served, authorization: str | bytes | None, body: Mapping[str, object] | None = None) -> httpx.Response:
    """Send a charge with this `Authorization` header, or with none."""
    raw = authorization.encode() if isinstance(authorization, str) else authorization
    given = [] if raw is None else [(b"Authorization", raw)]
    with served.client(None) as client:
        return client.post("/", json=body or charge(), headers=given)


def said(reply: httpx.Response) -> tuple[int, str | None]:
    """Return status and error code."""
    return reply.status_code, reply.json()["error_code"]


def issue(served: Served, instance: str = "Default", *, scopes: tuple[str, ...] = ("charge", "tokenize")) -> Any:  # noqa: ANN401 - JSON
    """Issue an access token that lives for an hour."""
    return served.act("access-token issue", instance=instance, scopes=list(scopes), expires_in_s=3600)


def bearer(token: str) -> str:
    """Return an `Authorization` header."""
    return f"Bearer {token}"


def set_password(served: Served, instance: str, password: str) -> None:
    """Give an instance a password of ours, which no generator would make."""
    parts = served.parts
    known = parts.directory.by_name(instance)
    assert known is not None
    key = parts.keyring.active(Purpose.CREDENTIAL)
    credential = Credential(
        instance_id=known.id,
        kind=PASSWORD,
        hash=credential_hash(password, key),
        key_id=key.id,
        created_at_ms=served.clock(),
    )
    act = Act(at_ms=served.clock(), actor="test", action="set password", target=instance)

    def replace_it() -> None:
        parts.store.replace_credentials(known.id, PASSWORD, [credential], act)
        parts.directory.reload()

    served.call(replace_it)


OK = (200, None)
UNAUTHORIZED = (401, "unauthorized")
THROTTLED = (429, "too_many_requests")


# --- What is refused -------------------------------------------------------------------------------------------------


def _username(served: Served, instance: str = "Default") -> str:
    return served.credentials[instance][0]


def _password(served: Served, instance: str = "Default") -> str:
    return served.credentials[instance][1]


def _encoded(clear: bytes) -> str:
    return f"Basic {base64.b64encode(clear).decode()}"


REFUSED: Mapping[str, Header] = {
    "no header": lambda _served: None,
    "empty header": lambda _served: "",
    "wrong password": lambda served: basic(_username(served), "wrong"),
    "empty password": lambda served: basic(_username(served), ""),
    "another case": lambda served: basic(_username(served), _password(served).upper()),
    "a letter less": lambda served: basic(_username(served), _password(served)[:-1]),
    "a letter more": lambda served: basic(_username(served), _password(served) + "a"),
    "a space more": lambda served: basic(_username(served), _password(served) + " "),
    "colons after it": lambda served: basic(_username(served), _password(served) + ":"),
    "wrong username": lambda served: basic("icnobody", _password(served)),
    "the unique name as username": lambda served: basic("Default", _password(served)),
    "empty username": lambda served: basic("", _password(served)),
    "another instance's password": lambda served: basic(_username(served), _password(served, "Other")),
    "another instance's access token": lambda served: basic(_username(served), issue(served, "Other")["token"]),
    "no colon": lambda served: _encoded(f"{_username(served)}{_password(served)}".encode()),
    "not base64": lambda _served: "Basic !!!!",
    "base64 cut short": lambda served: basic(*served.credentials["Default"]).rstrip("=")[:-1],
    "not UTF-8": lambda served: _encoded(_username(served).encode() + b":\xff\xfe"),
    "nothing after Basic": lambda _served: "Basic",
    "nothing after Bearer": lambda _served: "Bearer",
    "unknown scheme": lambda served: basic(*served.credentials["Default"]).replace("Basic", "Digest"),
    "no scheme": lambda served: basic(*served.credentials["Default"]).removeprefix("Basic "),
    "password as bearer": lambda served: bearer(_password(served)),
    "null bytes": lambda served: _encoded(f"{_username(served)}\0:{_password(served)}".encode()),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_credential_that_is_not_right_is_a_401_that_tells_nothing(gateway: Served, kind: str) -> None:
    """Whatever is wrong with it, the reply is the same bytes, and names the way to come in: Basic."""
    reply = pay(gateway, REFUSED[kind](gateway))

    assert UNAUTHORIZED == said(reply)
    assert 'Basic realm="generic-connector", charset="UTF-8"' == reply.headers["www-authenticate"]
    assert pay(gateway, None).content == reply.content


def test_a_header_of_raw_bytes_is_refused(gateway: Served) -> None:
    """Bytes beyond ASCII in the header itself are garbled, and no error."""
    assert UNAUTHORIZED == said(pay(gateway, b"Basic \xff\xfe\xe9"))
    assert UNAUTHORIZED == said(pay(gateway, b"Bearer \xff.\xfe.\xe9"))


def test_every_reply_that_lets_in_carries_no_challenge(gateway: Served) -> None:
    """`WWW-Authenticate` is for those who did not get in."""
    assert "www-authenticate" not in ask(gateway, charge()).headers


def test_refused_credentials_are_logged_with_the_address_and_the_reason(gateway: Served) -> None:
    """The log says who tried and what was wrong, but never with what."""
    reply = pay(gateway, basic("icsomebody", "hunter2-hunter2"))

    (event,) = until(lambda: events(gateway, request_id=reply.headers["x-request-id"]))
    assert ("refused_credential", "wrong username or password") == (event["event"], event["reason"])
    assert event["address"] in {"127.0.0.1", "::1"}
    assert "hunter2" not in gateway.log.getvalue()


# --- Passwords -------------------------------------------------------------------------------------------------------


def test_username_and_password_let_in(gateway: Served) -> None:
    """They were shown once, and are letters, digits and underscores only: 128 bits at least, for any form field."""
    username, password = gateway.credentials["Default"]

    assert OK == said(pay(gateway, basic(username, password)))
    assert password.isalnum()
    assert password.isascii()
    assert len(password) >= 128 / 4
    assert username.replace("_", "").isalnum()


def test_the_scheme_is_read_in_any_case(gateway: Served) -> None:
    """`basic` and `BEARER` are what RFC 9110 says they are."""
    right = basic(*gateway.credentials["Default"])

    assert OK == said(pay(gateway, right.replace("Basic", "bAsIc")))
    assert OK == said(pay(gateway, bearer(issue(gateway)["token"]).replace("Bearer", "BEARER")))


def test_a_password_is_all_that_follows_the_first_colon_in_utf_8(gateway: Served) -> None:
    """Colons in it, letters of any script and spaces are part of it."""
    username = gateway.add("Imported")["username"]

    for password in ("pass:with:colons", "pässwörd-密码-🔑", " spaces around ", ":", "x" * 1000):
        set_password(gateway, "Imported", password)

        assert OK == said(pay(gateway, basic(username, password)))
        assert UNAUTHORIZED == said(pay(gateway, basic(username, password[:-1])))
        assert UNAUTHORIZED == said(pay(gateway, basic(username, f"{password}:")))


def test_two_passwords_are_valid_while_one_replaces_the_other(gateway: Served) -> None:
    """A new password leaves the one before it valid; a third ends the oldest."""
    gateway.add("Rotated")
    username, first = gateway.credentials["Rotated"]

    passwords = [first]
    let_in = []
    for _turn in range(3):
        gateway.clock.forward(1)
        passwords.append(gateway.act("instance rotate-password", unique_name="Rotated")["password"])
        let_in.append([said(pay(gateway, basic(username, password)))[0] for password in passwords])

    assert [[200, 200], [401, 200, 200], [401, 401, 200, 200]] == let_in


def test_the_old_passwords_can_be_ended_at_once(gateway: Served) -> None:
    """`--revoke-old` leaves the new one alone."""
    gateway.add("Leaked")
    username, first = gateway.credentials["Leaked"]
    gateway.clock.forward(1)
    second = gateway.act("instance rotate-password", unique_name="Leaked")["password"]
    gateway.clock.forward(1)
    third = gateway.act("instance rotate-password", unique_name="Leaked", revoke_old=True)["password"]

    assert [401, 401, 200] == [said(pay(gateway, basic(username, one)))[0] for one in (first, second, third)]


def test_a_rotation_leaves_access_tokens_and_path_secrets_alone(gateway: Served) -> None:
    """Only passwords are rotated."""
    path = gateway.add("Kept", path_secret=True)["path"]
    token = issue(gateway, "Kept")["token"]

    gateway.act("instance rotate-password", unique_name="Kept", revoke_old=True)

    assert OK == said(pay(gateway, bearer(token)))
    assert OK == said(ask(gateway, charge(), None, path))


def test_credentials_outlive_a_restart_and_are_kept_as_keyed_hashes(tmp_path: Path) -> None:
    """Passwords, tokens and path secrets are valid after a restart, and in no file of the home."""
    with serve_gateway(tmp_path) as served:
        path = served.add("Default", path_secret=True)["path"]
        right, token = served.credentials["Default"], issue(served)["token"]
    with serve_gateway(tmp_path, clock=served.clock) as served:
        replies = [pay(served, basic(*right)), pay(served, bearer(token)), ask(served, charge(), None, path)]

    assert [OK] * 3 == [said(reply) for reply in replies]
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert right[0].encode() in kept
    assert not [secret for secret in (right[1], token, path.removeprefix("/i/")) if secret.encode() in kept]


# --- Access tokens ---------------------------------------------------------------------------------------------------


def test_an_access_token_lets_in_as_bearer_and_as_password(gateway: Served) -> None:
    """Twilio's Console has two fields and no third: the token stands in for the password."""
    token = issue(gateway)["token"]

    assert OK == said(pay(gateway, bearer(token)))
    assert OK == said(pay(gateway, basic(_username(gateway), token)))


def test_a_bearers_instance_is_the_tokens(gateway: Served) -> None:
    """Without a username the token itself says whose it is."""
    body = charge()

    pay(gateway, bearer(issue(gateway, "Other")["token"]), body)

    (event,) = until(lambda: events(gateway, event="payment", transaction_id=body["transaction_id"]))
    assert "Other" == event["instance"]
    assert event["credential"].startswith("at_")


def test_an_access_token_does_what_its_scopes_say(gateway: Served) -> None:
    """Beyond them is a 200 `not_permitted`, as for an instance that may not; a charge that saves needs both."""
    charges, keeps = (bearer(issue(gateway, scopes=(scope,))["token"]) for scope in ("charge", "tokenize"))
    saving = charge(parameters={"save_card": "true"})

    refused = [(charges, tokenize()), (charges, saving), (keeps, charge())]

    assert [(200, "not_permitted")] * 3 == [said(pay(gateway, *one)) for one in refused]
    assert [OK, OK] == [said(pay(gateway, charges, charge())), said(pay(gateway, keeps, tokenize()))]


def test_a_retry_with_another_credential_hears_the_truth(gateway: Served) -> None:
    """What was paid with the password is told to a token that may not pay: the row comes first."""
    body = charge()
    paid = ask(gateway, body)

    assert paid.content == pay(gateway, bearer(issue(gateway, scopes=("tokenize",))["token"]), body).content


def test_a_revoked_token_is_out_at_once(gateway: Served) -> None:
    """The very next request is a 401, though the token was verified a moment ago; other tokens stay."""
    revoked, other = issue(gateway), issue(gateway)
    before = [said(pay(gateway, bearer(one["token"]))) for one in (revoked, other)]

    gateway.act("access-token revoke", id=revoked["id"])

    assert [OK, OK] == before
    assert [UNAUTHORIZED, OK] == [said(pay(gateway, bearer(one["token"]))) for one in (revoked, other)]


def test_a_token_ends_on_time(gateway: Served) -> None:
    """It lets in until the second that it names, also where it was verified before."""
    token = bearer(issue(gateway)["token"])
    gateway.clock.forward(3599)
    before = said(pay(gateway, token))
    gateway.clock.forward(1)

    assert (OK, UNAUTHORIZED) == (before, said(pay(gateway, token)))


# --- Access tokens that are none -------------------------------------------------------------------------------------


def _forged(
    served: Served,
    *,
    key: bytes | None = None,
    kid: object = "",
    algorithm: str = "HS256",
    without: str | None = None,
    **claims: object,
) -> str:
    """Sign a token with the gateway's own key, and with one thing wrong. Its id is one that was issued."""
    active = served.parts.keyring.active(Purpose.ACCESS_TOKEN)
    now_s = served.clock() // 1000
    whole = {
        "aud": served.parts.keyring.installation,
        "sub": "Default",
        "jti": issue(served)["id"],
        "iat": now_s,
        "exp": now_s + 3600,
        "scope": "charge tokenize",
        **claims,
    }
    whole = {name: value for name, value in whole.items() if name != without}
    headers = {"kid": str(active.id) if kid == "" else kid}
    return jwt.encode(
        whole,
        "" if algorithm == "none" else key or active.clear,
        algorithm=algorithm,
        headers={name: value for name, value in headers.items() if value is not None},
    )


def _raw(header: bytes, claims: bytes = b"{}") -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims, b"signature"))


def _unsigned(served: Served) -> str:
    head, claims, _signature = _forged(served).split(".")
    return f"{head}.{claims}."


def _altered(served: Served) -> str:
    """Scopes and instance of somebody's wish, under a signature that was right for others."""
    head, claims, signature = _forged(served).split(".")
    clear = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    other = base64.urlsafe_b64encode(clear.replace(b"Default", b"Another")).rstrip(b"=").decode()
    return f"{head}.{other}.{signature}"


def _of_another_purpose(served: Served) -> str:
    key = served.parts.keyring.active(Purpose.CREDENTIAL)
    return _forged(served, key=key.clear, kid=str(key.id))


FORGED: Mapping[str, Callable[[Served], str]] = {
    "another key": lambda served: _forged(served, key=bytes(range(32))),
    "a key of another purpose": _of_another_purpose,
    "no algorithm": lambda served: _forged(served, algorithm="none"),
    "no signature": _unsigned,
    "altered claims": _altered,
    "HS384": lambda served: _forged(served, algorithm="HS384", key=bytes(range(48))),
    "HS512": lambda served: _forged(served, algorithm="HS512", key=bytes(range(64))),
    "unknown key id": lambda served: _forged(served, kid="999"),
    "no key id": lambda served: _forged(served, kid=None),
    "key id of 5000 digits": lambda _served: _raw(b'{"alg":"HS256","kid":"%s"}' % (b"1" * 5000)),
    "key id of superscripts": lambda _served: _raw('{"alg":"HS256","kid":"²"}'.encode()),
    "key id that is a number": lambda _served: _raw(b'{"alg":"HS256","kid":5}'),
    "key id that is a list": lambda _served: _raw(b'{"alg":"HS256","kid":["5"]}'),
    "header that is a list": lambda _served: _raw(b"[]"),
    "header that is deep": lambda _served: _raw(b"[" * 30_000),
    "header with a long number": lambda _served: _raw(b'{"alg":"HS256","x":%s}' % (b"1" * 5000)),
    "header that is no JSON": lambda _served: _raw(b"\xff\xff"),
    "three dots and nothing": lambda _served: "..",
    "another audience": lambda served: _forged(served, aud="in_another"),
    "another subject": lambda served: _forged(served, sub="Other"),
    "an id that was never issued": lambda served: _forged(served, jti="at_never"),
    "an id that is a number": lambda served: _forged(served, jti=5),
    "no audience": lambda served: _forged(served, without="aud"),
    "no subject": lambda served: _forged(served, without="sub"),
    "no id": lambda served: _forged(served, without="jti"),
    "no expiry": lambda served: _forged(served, without="exp"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_with_one_thing_wrong_does_not_let_in(gateway: Served, kind: str) -> None:
    """As bearer and as password it is a 401, whichever part is missing, altered, or another installation's."""
    token = FORGED[kind](gateway)

    assert UNAUTHORIZED == said(pay(gateway, bearer(token)))
    assert UNAUTHORIZED == said(pay(gateway, basic(_username(gateway), token)))


def test_the_same_token_with_nothing_wrong_lets_in(gateway: Served) -> None:
    """Control: what the forgeries differ from is good."""
    assert OK == said(pay(gateway, bearer(_forged(gateway))))


def test_a_forged_expiry_moves_nothing(gateway: Served) -> None:
    """When a token ends is what the registry says: an `exp` of next year, rightly signed, does not prolong it."""
    forged = bearer(_forged(gateway, exp=gateway.clock() // 1000 + 365 * 86_400))
    gateway.clock.forward(3601)

    assert UNAUTHORIZED == said(pay(gateway, forged))


def test_another_installations_token_does_not_let_in(gateway: Served, tmp_path: Path) -> None:
    """Each installation has keys and an audience of its own."""
    with serve_gateway(tmp_path, clock=gateway.clock) as other:
        other.add("Default")
        token = issue(other)["token"]
        at_home = said(pay(other, bearer(token)))

    assert (OK, UNAUTHORIZED) == (at_home, said(pay(gateway, bearer(token))))


def test_a_token_says_what_jwt_asks_for_and_no_more(gateway: Served) -> None:
    """HS256 with a key id; audience, subject, id, times and scope; it lives as long as was asked."""
    token = issue(gateway, scopes=("charge",))["token"]

    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert ("HS256", "JWT") == (header["alg"], header["typ"])
    assert header["kid"].isdecimal()
    assert {"aud", "sub", "jti", "iat", "exp", "scope"} == claims.keys()
    assert (3600, "charge", "Default") == (claims["exp"] - claims["iat"], claims["scope"], claims["sub"])


# --- Disabled instances ----------------------------------------------------------------------------------------------


def test_a_disabled_instance_is_a_403_for_whoever_proves_to_be_it(gateway: Served) -> None:
    """Password, token and path secret alike; a wrong password is a 401 still; enabled again, all let in again."""
    path = gateway.add("Paused", path_secret=True)["path"]
    right, token = basic(*gateway.credentials["Paused"]), bearer(issue(gateway, "Paused")["token"])

    def knock() -> list[tuple[int, str | None]]:
        return [said(pay(gateway, right)), said(pay(gateway, token)), said(ask(gateway, charge(), None, path))]

    before = knock()
    gateway.act("instance disable", unique_name="Paused")
    disabled, wrong = knock(), said(pay(gateway, basic(_username(gateway, "Paused"), "wrong")))
    gateway.act("instance enable", unique_name="Paused")

    assert [OK] * 3 == before
    assert [(403, "instance_disabled")] * 3 == disabled
    assert UNAUTHORIZED == wrong
    assert [OK] * 3 == knock()


# --- Path secrets ----------------------------------------------------------------------------------------------------


def test_a_path_secret_lets_in_without_a_header(gateway: Served) -> None:
    """For carriers that cannot authenticate: the secret path is the credential."""
    path = gateway.add("Signal", path_secret=True, dialect="signalwire")["path"]
    body = {**charge(), "method": None}

    assert OK == said(ask(gateway, body, None, path))


def test_a_path_secret_is_logged_neither_right_nor_wrong(gateway: Served) -> None:
    """Not as a path, not in an error, whatever is done with it."""
    path = gateway.add("Quiet", path_secret=True)["path"]
    secret = path.removeprefix("/i/")
    wrong = new_transaction_id()

    with gateway.client(None) as client:
        statuses = [
            client.post(path, json=charge()).status_code,
            client.post(path, content=b"{").status_code,
            client.post(f"{path}?secret={secret}", json=charge()).status_code,
            client.get(path).status_code,
            client.post(f"{path}/", json=charge()).status_code,
            client.post(f"/i/{wrong}", json=charge()).status_code,
            client.get(f"/{secret}").status_code,
        ]

    assert [200, 400, 200, 405, 404, 404, 404] == statuses
    until(lambda: len(events(gateway, event="payment", instance="Quiet")) == 3)
    assert not [one for one in (secret, wrong, secret[:8]) if one in gateway.log.getvalue()]


def test_an_instance_without_a_path_secret_has_no_path(gateway: Served) -> None:
    """Neither its username nor its password is one."""
    username, password = gateway.credentials["Other"]

    paths = [f"/i/{username}", f"/i/{password}", "/i/Other"]

    assert [(404, "not_found")] * 3 == [said(ask(gateway, charge(), None, path)) for path in paths]


# --- Throttling ------------------------------------------------------------------------------------------------------


def fail(served: Served, times: int, header: str | None = "Basic d3Jvbmc6d3Jvbmc=", **headers: str) -> list[int]:
    """Try a wrong credential so often, on one connection. Returns the statuses."""
    given = {**headers, **({} if header is None else {"Authorization": header})}
    with served.client(None) as client:
        return [client.post("/", json={}, headers=given).status_code for _turn in range(times)]


def test_too_many_wrong_credentials_are_a_429(gateway: Served) -> None:
    """Twenty at once, then five a second: what is over is told nothing about its guess, and when to come again."""
    at_once = fail(gateway, BURST + 2)
    throttled = pay(gateway, basic(_username(gateway), "wrong"))
    gateway.clock.forward(1)
    later = fail(gateway, PER_S + 2)
    gateway.clock.forward(3600)
    much_later = fail(gateway, BURST + 1)

    assert [401] * BURST + [429] * 2 == at_once
    assert THROTTLED == said(throttled)
    assert "1" == throttled.headers["retry-after"]
    assert [401] * PER_S + [429] * 2 == later
    assert [401] * BURST + [429] == much_later


def test_a_right_credential_is_never_throttled(gateway: Served) -> None:
    """However many wrong ones came from its address, a right one lets in, and takes nothing of what is left."""
    path = gateway.add("Shared", path_secret=True)["path"]
    token = bearer(issue(gateway)["token"])
    fail(gateway, BURST + 1)

    replies = [
        pay(gateway, basic(*gateway.credentials["Default"])),
        pay(gateway, token),
        ask(gateway, charge(), None, path),
    ]

    assert [OK] * 3 == [said(reply) for reply in replies]
    assert [429] == fail(gateway, 1)


def test_a_missing_header_is_not_counted(gateway: Served) -> None:
    """Whoever sends none is no guesser, and is told how to authenticate, however often."""
    assert [401] * (BURST + 5) == fail(gateway, BURST + 5, None)
    assert [401] * BURST + [429] == fail(gateway, BURST + 1)
    assert [401] == fail(gateway, 1, None)


def test_wrong_path_secrets_and_tokens_count_with_wrong_passwords(gateway: Served) -> None:
    """One address has one budget for all its guesses."""
    with gateway.client(None) as client:
        paths = [client.post(f"/i/{new_transaction_id()}", json={}).status_code for _turn in range(BURST // 2)]
    tokens = fail(gateway, BURST // 2, "Bearer a.b.c")

    assert [404] * (BURST // 2) + [401] * (BURST // 2) == paths + tokens
    assert [429] == fail(gateway, 1)
    assert THROTTLED == said(ask(gateway, charge(), None, "/i/wrong"))


def test_addresses_are_throttled_apart_and_believed_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    """Behind a trusted proxy the caller's own address counts; from anybody else that header is an attacker's wish."""
    with serve_gateway(tmp_path / "proxied", environment={"trusted_proxies": '"127.0.0.1,::1"'}) as served:
        first = fail(served, BURST + 1, **{"X-Forwarded-For": "203.0.113.9"})
        other = fail(served, 1, **{"X-Forwarded-For": "203.0.113.10"})
        addresses = {event["address"] for event in events(served, event="refused_credential")}
    with serve_gateway(tmp_path / "direct") as served:
        wishes = [fail(served, 1, **{"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(BURST + 1)]

    assert [401] * BURST + [429] == first
    assert [401] == other
    assert {"203.0.113.9", "203.0.113.10"} == addresses
    assert [[401]] * BURST + [[429]] == wishes


def test_the_throttles_memory_is_bounded() -> None:
    """Ten thousand addresses are remembered; the one that was quiet longest is forgotten first."""
    clock = HandClock(datetime(2026, 11, 23, tzinfo=UTC))
    throttle = Throttle(1, 1, clock)
    for number in range(10_000):
        throttle.may_be_refused(f"a{number}")
    remembered = throttle.may_be_refused("a0")  # and is the latest now

    for number in range(5):
        throttle.may_be_refused(f"b{number}")

    assert (False, False, True) == (remembered, throttle.may_be_refused("a0"), throttle.may_be_refused("a1"))


# --- Comparing -------------------------------------------------------------------------------------------------------

SECRETS = {"password", "secret", "token", "encoded", "hash", "clear", "authorization", "rest", "username", "signature"}


def unsafe_comparisons(source: str) -> list[str]:
    """Return the comparisons by `==`, `!=` or `in` one of whose sides is a value that somebody could be guessing."""

    def is_secret(node: ast.expr) -> bool:
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        makes_hash = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("credential_hash", "digest"))
        return name in SECRETS or makes_hash

    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(how, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for how in node.ops)
        and any(map(is_secret, [node.left, *node.comparators]))
    ]


def test_credentials_are_compared_in_constant_time_only() -> None:
    """No `==` in `identity` touches a credential, a username or a hash: `hmac.compare_digest` compares them."""
    source = Path(identity.__file__).read_text()

    assert [] == unsafe_comparisons(source)
    assert {"credential_hash(password, key), candidate.hash", "username.encode(), instance.username.encode()"} == {
        ", ".join(map(ast.unparse, node.args))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hmac.compare_digest"
    }


@pytest.mark.parametrize(
    "planted",
    ["password == known", "credential_hash(password, key) == candidate.hash", "a.hash != b", "token in known"],
)
def test_a_careless_comparison_would_be_found(planted: str) -> None:
    """Control: the search sees each of these."""
    assert [planted] == unsafe_comparisons(f"def check():\n    return {planted}\n")


class CountingKeyring(Keyring):
    """A keyring that counts how often a credential's key is asked for: once for each keyed hash."""

    asked = 0

    def key(self, purpose: Purpose, key_id: int) -> Key | None:
        self.asked += 1
        return super().key(purpose, key_id)


def test_an_unknown_username_costs_what_a_wrong_password_costs(gateway: Served) -> None:
    """Both are one keyed hash and one comparison, so that timing does not tell which usernames there are."""
    parts = gateway.parts
    keyring = CountingKeyring(parts.store, FileKek(parts.home / "kek"), parts.randomness)
    directory = Directory(parts.store, keyring, gateway.clock)
    hashes = []
    for header in (basic("icnobody", "wrong"), basic(_username(gateway), "wrong")):
        keyring.asked = 0
        gateway.call(lambda header=header: directory.identify(header))  # type: ignore[misc]  # mypy infers no default
        hashes.append(keyring.asked)

    assert [1, 1] == hashes
