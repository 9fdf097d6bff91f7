"""The documented requests and every logged variant, byte for byte, over a real TLS socket."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time

import httpx
import pytest

from serving import Served, serve_gateway
from wire_cases import WIRE_CASES, WireCase


@pytest.fixture(scope="module")
def carriers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with every instance that the corpus names."""
    with serve_gateway(tmp_path_factory.mktemp("home")) as served:
        named = {case.instance: (case.mode, case.dialect) for case in WIRE_CASES}
        for name, (mode, dialect) in named.items():
            processor = "live" if mode == "live" else "sandbox"
            served.add(name, mode=mode, dialect=dialect, processor=processor)
        yield served


@pytest.mark.parametrize("case", WIRE_CASES, ids=lambda case: case.name)
def test_a_request_gets_the_answer_that_its_source_calls_for(carriers: Served, case: WireCase) -> None:
    """Every documented or logged body gets its id, or its error code in the contract's shape."""
    carriers.clock.put(datetime.combine(case.valid_on, time(12), UTC))

    reply = post(carriers, case)

    assert case.status == reply.status_code, reply.text
    body = reply.json()
    assert case.error_code == body["error_code"]
    keys = {case.id_key} if case.id_key else {"charge_id", "token_id"}
    assert keys == {"charge_id", "token_id"} & body.keys()
    assert all((body[key] is None) is (case.error_code is not None) for key in keys)
    assert dict(case.parameters).items() <= body.get("parameters", {}).items()


def test_the_same_bytes_again_get_the_same_bytes_back(carriers: Served) -> None:
    """Every request that was answered with an id is answered with the same bytes when it comes again."""
    good = [case for case in WIRE_CASES if case.error_code is None]

    for case in good:
        carriers.clock.put(datetime.combine(case.valid_on, time(12), UTC))
        first, again = post(carriers, case), post(carriers, case)
        assert first.content == again.content, case.name
        assert json.loads(first.content)["error_code"] is None

    assert len(good) > 100


def post(carriers: Served, case: WireCase) -> httpx.Response:
    """Send a case as its carrier does."""
    headers = dict(case.headers)
    if case.content_type is not None:
        headers["Content-Type"] = case.content_type
    with carriers.client(case.instance) as client:
        return client.post(case.path, content=case.body, headers=headers)
