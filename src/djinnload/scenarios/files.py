"""Files that a scenario names, such as a trace: where they are and what is in them."""

import hashlib
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

__all__ = ("InputFile", "input_file", "located")


class InputFile(Struct, frozen=True):
    """What a run took from a file, for its manifest.

    Attributes:
        option: That names it, such as ``path``.
        path: As the scenario names it: relative to the scenario file.
        nbytes: Its size.
        sha256: Of its content, 64 hex digits.
    """

    option: str
    path: str
    nbytes: int
    sha256: str


def located(path: str, scenario: str) -> Path:
    """Return where *path* is.

    Args:
        path: Relative to the folder of the scenario file, or absolute.
        scenario: Path of that file; empty: none, so the working directory is meant.
    """
    return Path(scenario).parent / path


def input_file(option: str, path: str, scenario: str) -> InputFile:
    """Return what is known of a file; read once while it does not change.

    Raises:
        OSError: It cannot be read.
    """
    found = located(path, scenario)
    state = found.stat()
    sha256 = _sha256(found, state.st_mtime_ns, state.st_size)
    return InputFile(option, path, state.st_size, sha256)


@lru_cache(maxsize=64)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
