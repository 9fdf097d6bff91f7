"""The conformance kit: does an endpoint honour the Generic Pay Connector's contract? Asked from outside, over HTTP.

Point it at any endpoint, in any language. It sends what Twilio sends, and what Twilio's retries, a broken line and a
curious stranger send, and says clause by clause what holds. It knows nothing of this project's gateway: it asserts on
literal JSON, and imports no more than a few plain values.

    check       what a check is: an id, a claim, its source, a way to ask, a verdict            pure
    checks/     the checks, by family: charge, tokenize, tolerance, reply, errors, retry, ...
    footing     the ways in which an endpoint may want to be asked, if it does not take Twilio's
    visit       what all of one run share: the address, the credentials, what the endpoint lacks, what is masked
    bodies      the payments that are asked for, as the caller that is played writes them
    request     a body and what surrounds it, as bytes
    attempt     one request on its way: its time, its reply, its record
    probe       how a check asks, over a `line` (HTTP and raw bytes) or `in_process` (ASGI)
    restart     how the endpoint is restarted, and waited for
    mask        what of it may be shown
    profile     what the kit is told about an endpoint: what declines, what is slow, how to restart
    runner      which checks run, in which order, how many at once, and what came of them
    report      the outcome, for people and for programs: table, JUnit XML, JSON, HTML, matrix
    plugin      the same as pytest items: `pytest --connector-url URL`
"""
