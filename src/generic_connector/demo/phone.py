"""The phone of the demonstration: a call that is played, and the phone page that stays.

The call is played in this process, in simulated time, as `generic-connector twilio pay` does. The page is served by
`generic-connector twilio serve`, in a process of its own, over TLS with the gateway's certificate.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from generic_connector.demo.gateway import Gateway
from generic_connector.demo.process import Process
from generic_connector.twilio.call import Call
from generic_connector.twilio.configuration import ACCOUNT_SID, load_configuration, new_auth_token
from generic_connector.twilio.exchange import new_sid
from generic_connector.twilio.rehearsal import Rehearsal
from generic_connector.twilio.script import read_script
from generic_connector.twilio.transcript import Transcript

CALL: Final = "A phone call: <Pay>, from the first prompt to the result"
CALL_ABOUT: Final = (
    "The simulated Twilio reads the prompts of a TwiML document and presses the keys: a wrong number first, so that it "
    "asks once more. Times are the call's own, and simulated."
)
CALL_ID: Final = "72500aba-4e7c-4b1d-9f5e-c0ffeedecade"
"""The transaction_id of its payment."""

_TWIML = """<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <Pay chargeAmount="12.50" currency="usd" paymentConnector="Default" maxAttempts="2" description="A phone order">
    <Prompt for="payment-card-number"><Say>Please enter your card number.</Say></Prompt>
    <Prompt for="payment-card-number" errorType="invalid-card-number timeout">
      <Say>That is no card number. Please try again.</Say>
    </Prompt>
  </Pay>
</Response>
"""
# A wrong number, the published Visa test number, its date, a postal code, a security code.
_KEYS = "4111111111111112#, 4111111111111111, 0840, 94111#, 123"
_CALLER, _CALLED = "+14155550100", "+14155550199"


def play_call(gateway: Gateway, credentials: tuple[str, str], say: Callable[[str], None]) -> str:
    """Play the call against the gateway, and print what caller and wire saw. Returns the payment's Result."""
    configuration = load_configuration(
        None,
        connectors=[f"Default={gateway.url},{','.join(credentials)}"],
        switches=[],
        auth_token=new_auth_token(),
        ca_file=gateway.certificates.ca,
    )
    call = Call(
        account_sid=configuration.account_sid,
        sid=new_sid("CA"),
        from_=_CALLER,
        to=_CALLED,
        switches=configuration.switches,
        connectors=configuration.connectors,
        new_transaction_id=lambda: CALL_ID,
    )
    rehearsal = Rehearsal(call, configuration)
    pieces: list[str] = []
    transcript = Transcript(pieces.append, started_at_s=rehearsal.now_s)
    rehearsal.told = transcript.tell
    asyncio.run(rehearsal.play(read_script(_KEYS), text=_TWIML))
    result = rehearsal.results[-1] if rehearsal.results else {}
    transcript.conclude(result)
    for line in "".join(pieces).splitlines():
        say(line)
    return str(result.get("Result", "none"))


class Phone:
    """The simulated Twilio with its phone page, beside the gateway, for as long as the context lasts."""

    def __init__(self, gateway: Gateway, credentials: Mapping[str, tuple[str, str]], port: int) -> None:
        self._gateway = gateway
        self._port = port
        self._token = new_auth_token()
        self._file = gateway.place / "twilio.toml"
        self._server = Process("the simulated Twilio", gateway.place / "twilio-log")
        connectors = [
            f"\n[[connector]]\nunique_name = {_toml(name)}\nurl = {_toml(gateway.url)}\n"
            f"username = {_toml(username)}\npassword = {_toml(password)}\n"
            for name, (username, password) in credentials.items()
        ]
        account = f"[account]\nsid = {_toml(ACCOUNT_SID)}\nauth_token = {_toml(self._token)}\n"
        # It holds passwords, if only for a demonstration.
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(account + "".join(connectors))

    def __enter__(self) -> Self:
        certificates = self._gateway.certificates
        self.url, _seconds = self._server.start(
            [
                *("twilio", "serve", "--host", "localhost", "--port", str(self._port)),
                *("--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key)),
                *("--config", str(self._file), "--ca", str(certificates.ca)),
            ]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def invitation(self) -> list[str]:
        """Return how to call."""
        return [
            f"The phone is at {self.url}/ : open it in a browser, and pay with published test numbers.",
            "The browser does not know who signed its certificate. Accept it this once, or import",
            f"{self._gateway.certificates.ca}.",
            "The official Twilio SDK can use the same address in place of Twilio's own, with account",
            f"{ACCOUNT_SID} and auth token {self._token}.",
        ]


def _toml(text: str) -> str:
    """A basic string of TOML, which JSON's strings are."""
    return json.dumps(text)
