"""An archive → a directory whose every file is what its checksum says."""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct

from djinnload.bundles.packing import BUNDLE, CHECKSUMS
from djinnload.errors import ScenarioError
from djinnload.reading.files import read_json

__all__ = ("Opened", "unpack")

_CHUNK = 2**20
_SCHEMA = 1


class Opened(Struct, frozen=True):
    """A bundle that was unpacked and verified.

    Attributes:
        directory: A results directory, with what the bundle adds.
        about: Its ``bundle.json``.
        name: Of the archive.
    """

    directory: Path
    about: dict[str, Any]
    name: str


def unpack(bundle: Path, into: Path) -> Opened:
    """Unpack *bundle* into a new folder of *into*; verify every file.

    Raises:
        ScenarioError: It is none; or names a file that is missing, added or changed.
    """
    found: dict[str, str] = {}
    try:
        with _archive(bundle) as tar:
            root = _unpacked(tar, into, found)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise _refused(bundle, f"is no bundle, or is damaged: {error}") from None
    wanted = _checksums(bundle, into / root / CHECKSUMS)
    found.pop(CHECKSUMS, None)
    for name in dict.fromkeys((*wanted, *found)):
        if wanted.get(name) != found.get(name):
            what = "changed" if name in wanted and name in found else "added"
            what = "missing" if name not in found else what
            raise _refused(bundle, f"is not as it was made: {name} is {what}")
    about = read_json(into / root / BUNDLE) if BUNDLE in found else {}
    if about.get("schema") != _SCHEMA:
        raise _refused(bundle, f"holds no {BUNDLE} that this djinnload can read")
    return Opened(into / root, about, bundle.name)


@contextmanager
def _archive(bundle: Path) -> Iterator[tarfile.TarFile]:
    if not bundle.is_file():
        raise ScenarioError(str(bundle), "no such file; djinnload bundle DIR makes one")
    if bundle.name.endswith(".zst"):
        import pyarrow as pa

        with (
            pa.CompressedInputStream(pa.OSFile(str(bundle)), "zstd") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            yield tar
        return
    with tarfile.open(bundle, mode="r|gz") as tar:
        yield tar


def _unpacked(tar: tarfile.TarFile, into: Path, found: dict[str, str]) -> str:
    """Write every member below *into*; return the folder that all are in."""
    roots = set()
    for member in tar:
        root, *inside = PurePosixPath(member.name).parts
        plain = member.isfile() and inside and not {"..", "/"} & {root, *inside}
        if not plain or root.startswith("/"):
            raise ValueError(f"{member.name!r} is no plain file in a folder")
        roots.add(root)
        target = into.joinpath(root, *inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        found["/".join(inside)] = _copied(tar, member, target)
    if len(roots) != 1:
        raise ValueError(f"it holds {len(roots)} folders, not one")
    return str(roots.pop())


def _copied(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> str:
    """Write a member to *target*; return its sha256."""
    digest = hashlib.sha256()
    source = tar.extractfile(member)
    with target.open("xb") as file:
        while source is not None and (chunk := source.read(_CHUNK)):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _checksums(bundle: Path, path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise _refused(bundle, f"holds no {CHECKSUMS}, it is no bundle") from None
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs}


def _refused(bundle: Path, reason: str) -> ScenarioError:
    return ScenarioError(str(bundle), reason)
