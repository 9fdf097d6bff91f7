"""Custody in a file: a KEK for development, its owner's alone, and useless when it is not quite right."""

import base64
import os
import resource
import stat
from pathlib import Path

import pytest

from generic_connector.custody.file import FileKek, NoKekError, make_kek_file
from generic_connector.envelope import KEY_BYTES, TamperedError

CLEAR = b"c" * KEY_BYTES


def written(path: Path, content: bytes) -> Path:
    """Write a file that only its owner can read."""
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.fixture
def kek_file(tmp_path: Path) -> Path:
    """A new KEK."""
    path = tmp_path / "kek"
    make_kek_file(path)
    return path


def key_in(path: Path) -> bytes:
    """Return the key that a KEK file holds."""
    return base64.b64decode(path.read_text().split()[2])


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_kek_file_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, nobody but its owner can read the file."""
    before = os.umask(umask)
    try:
        make_kek_file(tmp_path / "kek")
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE((tmp_path / "kek").stat().st_mode)


def test_a_kek_file_is_never_overwritten(kek_file: Path) -> None:
    """Making a KEK where one is fails, and leaves the old one as it was."""
    before = kek_file.read_bytes()

    with pytest.raises(FileExistsError):
        make_kek_file(kek_file)

    assert before == kek_file.read_bytes()


def test_half_a_kek_is_not_left(tmp_path: Path) -> None:
    """Where it cannot be written, because the disk is full, no file stays that the next attempt would not overwrite."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            make_kek_file(tmp_path / "kek")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert not (tmp_path / "kek").exists()


def test_every_kek_is_new(tmp_path: Path) -> None:
    """Two KEKs have different ids and different keys of 256 bits."""
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        make_kek_file(path)

    assert [32, 32] == [len(key_in(path)) for path in paths]
    assert 2 == len({key_in(path) for path in paths}) == len({FileKek(path).kek_id for path in paths})


def test_a_wrapped_key_unwraps_after_a_restart(kek_file: Path) -> None:
    """What one process wrapped, the next unwraps; and the KEK keeps its id."""
    first, second = FileKek(kek_file), FileKek(kek_file)

    wrapped = first.wrap(CLEAR, b"aad")

    assert CLEAR == second.unwrap(wrapped, b"aad")
    assert first.kek_id == second.kek_id
    assert CLEAR not in wrapped


def test_no_two_wraps_are_the_same(kek_file: Path) -> None:
    """Every wrap has a nonce of its own."""
    kek = FileKek(kek_file)

    assert 50 == len({kek.wrap(CLEAR, b"aad")[1:13] for _ in range(50)})


def test_a_wrapped_key_opens_in_its_place_only(kek_file: Path, tmp_path: Path) -> None:
    """Neither another binding nor another KEK opens a wrapped key."""
    make_kek_file(tmp_path / "other")
    wrapped = FileKek(kek_file).wrap(CLEAR, b"aad")

    for kek, aad in ((FileKek(kek_file), b"other"), (FileKek(tmp_path / "other"), b"aad")):
        with pytest.raises(TamperedError):
            kek.unwrap(wrapped, aad)


def test_a_missing_kek_is_said_to_be_missing(tmp_path: Path) -> None:
    """Where there is no file the error says so, and what to do."""
    with pytest.raises(NoKekError, match=r"there is no KEK at .*kek; restore it"):
        FileKek(tmp_path / "kek")


GOOD_KEY = base64.b64encode(bytes(KEY_BYTES)).decode()
BROKEN = {
    "empty": b"",
    "two words": b"generic-connector-kek-1 file-a",
    "four words": f"generic-connector-kek-1 file-a {GOOD_KEY} x".encode(),
    "not base64": b"generic-connector-kek-1 file-a !!!!",
    "base64 with junk": f"generic-connector-kek-1 file-a {GOOD_KEY}!".encode(),
    "not text": b"\xff\xfe\x00",
    "another format": f"generic-connector-kek-2 file-a {GOOD_KEY}".encode(),
    "short key": b"generic-connector-kek-1 file-a " + base64.b64encode(bytes(KEY_BYTES - 1)),
    "long key": b"generic-connector-kek-1 file-a " + base64.b64encode(bytes(KEY_BYTES + 1)),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_no_kek_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever else is in the file, it is refused with what to do, and nothing of it is quoted."""
    path = written(tmp_path / "kek", content)

    with pytest.raises(NoKekError, match="restore it") as refused:
        FileKek(path)

    assert GOOD_KEY[:8] not in str(refused.value)


def test_a_good_file_is_accepted(tmp_path: Path) -> None:
    """Control: what the broken files were made of is a KEK, with the id that is written in it."""
    path = written(tmp_path / "kek", f"generic-connector-kek-1 file-a {GOOD_KEY}\n".encode())

    assert "file-a" == FileKek(path).kek_id


def test_a_directory_is_no_kek(tmp_path: Path) -> None:
    """A path that cannot be read as a file is refused like any other."""
    with pytest.raises(NoKekError, match="cannot be read as a KEK"):
        FileKek(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o601, 0o777])
def test_a_kek_that_others_can_read_is_refused(kek_file: Path, mode: int) -> None:
    """A KEK that anybody but its owner can touch is refused, with the command that mends it."""
    kek_file.chmod(mode)

    with pytest.raises(NoKekError, match="chmod 600"):
        FileKek(kek_file)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_kek_that_its_owner_alone_can_read_is_accepted(kek_file: Path, mode: int) -> None:
    """Control: whether the owner may write does not matter."""
    kek_file.chmod(mode)

    assert FileKek(kek_file).kek_id.startswith("file-")


def test_a_kek_shows_no_key(kek_file: Path) -> None:
    """Printing the provider shows nothing of the key."""
    kek = FileKek(kek_file)

    assert GOOD_KEY[:8] not in repr(kek)
    assert repr(key_in(kek_file))[2:10] not in repr(kek)
