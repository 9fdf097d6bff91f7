"""Twilio on your desk: the Twilio side of a phone payment, simulated.

With it a phone payment is developed and tested on a laptop, from TwiML to action URL, without an account, a phone or a
tunnel, against any endpoint that speaks the Generic Pay Connector's contract. Follow a call through these modules:

    twiml           what the application answered, parsed into verbs                          pure
    call            one call: verbs in order, Gather, Redirect, Hangup                        pure
    pay, prompts    one `<Pay>`: prompts, keys, attempts, result                              pure
    agent           one payment of the Payments API: the same, led by an agent                pure
    payments_api    the Payments API's parameters, errors and idempotency keys                pure
    entries         what may be keyed, what it means, and how it is shown                     pure
    messages        what is said to the connector's endpoint, and what its reply means        pure
    client          one payment: attempts at sending it, and what came of them                the wire
    callbacks       signed requests to the application: documents, actions, status            the wire
    exchange        drives calls: brings keys, time and answers to them, does what they ask   asyncio
    timeline        what happened, masked, for who watches
    desk, rest      the server: phone page and events, and the REST API                       Starlette
    rehearsal       one call by a script or at a terminal, with its transcript                asyncio
    configuration   account, connectors and switches, from a file and from flags

The pure ones take time as an argument and return what is to be done (`effects`); nothing in them waits. What Twilio's
sources leave open is one typed object, `switches`. Nothing here knows the gateway: of this project's other half it
imports the contract's vocabulary and the plain values below it, nothing else.
"""
