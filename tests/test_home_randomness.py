"""The randomness of a running gateway: fetched many bytes at a time, given once."""

import os

import pytest

from generic_connector import home
from generic_connector.home import system_randomness


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were asked of the operating system, each time. What it gives counts up: all can be told apart."""
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        first = sum(asked)
        asked.append(count)
        return b"".join((number // 2).to_bytes(2, "big")[number % 2 :][:1] for number in range(first, first + count))

    home._pool.empty()  # noqa: SLF001 - as a child process does
    monkeypatch.setattr(os, "urandom", urandom)
    return asked


def test_no_byte_is_given_twice(fetched: list[int]) -> None:
    """Every handful has its size, also where the pool runs dry within it, and continues where the last one ended."""
    taken = b"".join(system_randomness(count) for count in [13, 12] * 200)

    assert len(taken) == 25 * 200
    assert len({taken[place : place + 4] for place in range(0, 4092, 4)}) == 4092 // 4
    assert fetched == [4096, 4096]


def test_keys_and_passwords_never_lie_in_the_pool(fetched: list[int]) -> None:
    """Whatever is long enough to be a secret comes from the operating system alone."""
    system_randomness(32)
    system_randomness(20)

    assert fetched == [32, 20]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_process_does_not_give_what_its_parent_gives() -> None:
    """A fork copies the pool; a nonce that both of them give would open what they seal."""
    system_randomness(8)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, system_randomness(16))
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read_end, 16) != system_randomness(16)
    os.close(read_end)
    os.close(write_end)
