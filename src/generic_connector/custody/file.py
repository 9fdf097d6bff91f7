"""The file KEK: 256 bits in a file beside the database. For development, and `doctor` says so.

Whoever copies the home has the KEK with it: this protects a stolen database file or backup, not a stolen machine. PCI
DSS 3.6.1.3 wants key-encrypting keys stored apart from what they protect. Put the file on another volume with `kek =
"file:..."` in config.toml, or use a provider that never shows the key.

The file holds one line of text: a name for the format, the key's id, the key in base64.
"""

import base64
import os
import secrets
import stat
from pathlib import Path

from generic_connector.envelope import KEY_BYTES, NONCE_BYTES, unwrap, wrap

_FORMAT = "generic-connector-kek-1"
_READABLE_BY_OTHERS = 0o077


class NoKekError(Exception):
    """The KEK cannot be used: no file, not a KEK, or readable by others. Says what to do."""


def make_kek_file(path: Path) -> None:
    """Make a new KEK, readable by its owner alone from its first moment. Never overwrites."""
    key_id = f"file-{secrets.token_hex(4)}"
    line = f"{_FORMAT} {key_id} {base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()  # half a key is none, and would be in the way of a whole one
        raise


class FileKek:
    """`ports.KekProvider` on a file."""

    def __init__(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
            format_, self._kek_id, encoded = path.read_text().split()
            self._kek = base64.b64decode(encoded, validate=True)
        except FileNotFoundError:
            raise NoKekError(
                f"there is no KEK at {path}; restore it from its backup, or run init in a new home"
            ) from None
        except PermissionError:
            raise NoKekError(f"{path} may not be read by this user; run this as its owner") from None
        except (OSError, ValueError) as error:
            raise NoKekError(f"{path} cannot be read as a KEK ({type(error).__name__}); restore it") from None
        if format_ != _FORMAT or len(self._kek) != KEY_BYTES:
            raise NoKekError(f"{path} is no KEK of this program; restore it from its backup")
        if stat.S_IMODE(mode) & _READABLE_BY_OTHERS:
            raise NoKekError(f"{path} can be read by others; run: chmod 600 {path}")

    @property
    def kek_id(self) -> str:
        """Names the KEK."""
        return self._kek_id

    def wrap(self, clear: bytes, aad: bytes) -> bytes:
        """Return a key wrapped and bound to `aad`."""
        return wrap(clear, self._kek, aad, secrets.token_bytes(NONCE_BYTES))

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Return the key. Raises `envelope.TamperedError` where it does not open."""
        return unwrap(wrapped, self._kek, aad)
