"""A results directory → one archive: the same directory gives the same bytes.

Members are in order of their names, all of one time, owner and mode;
``checksums.sha256`` is what ``sha256sum -c`` takes.
"""

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from djinnload.bundles.checking import refuse_unless_whole
from djinnload.bundles.identity import identity
from djinnload.errors import HostError, ScenarioError
from djinnload.manifest import requirements
from djinnload.reading.files import read_json
from djinnload.scenarios.files import located

__all__ = ("BUNDLE", "CHECKSUMS", "LOCK", "PARTS", "SCENARIO", "Packed", "pack")

CHECKSUMS, BUNDLE, LOCK = "checksums.sha256", "bundle.json", "requirements.txt"
#: Of the scenario file, with what it reads beside it.
SCENARIO = "scenario/scenario.toml"
#: What may be left out: all that is large.
PARTS = ("samples",)
SUFFIXES = (".tar.gz", ".tgz", ".tar.zst")
_SCHEMA = 1
_MODE = 0o644

#: Of a member: its bytes, or the file that has them.
Content = bytes | Path


class Packed(Struct, frozen=True):
    """A bundle that was written.

    Attributes:
        files: In it, all that it has itself made included.
        nbytes: Of the archive.
        absent: Files that the scenario reads and that are not in it, as it names them.
    """

    path: Path
    files: int
    nbytes: int
    absent: tuple[str, ...]


def pack(
    run_dir: Path, out: Path | None = None, *, without: tuple[str, ...] = ()
) -> Packed:
    """Write a bundle of a whole run.

    Args:
        run_dir: Results of a run or a search.
        out: Ends in ``.tar.gz``, ``.tgz`` or ``.tar.zst``; None: a name of the scenario
            and the run, in the working directory.
        without: Of `PARTS`.

    Raises:
        ScenarioError: The run is not whole, or *out* is no such name.
        HostError: It cannot be written.
    """
    run_dir = Path(run_dir)
    refuse_unless_whole(run_dir)
    manifest = read_json(run_dir / "manifest.json")
    name = f"{manifest['scenario']['name']}-{run_dir.resolve().name}"
    path = Path(out or f"{name}.tar.gz")
    if not path.name.endswith(SUFFIXES):
        reason = (
            f"{str(path)!r} should end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
        raise ScenarioError("--out", reason)
    members, absent = _members(run_dir, manifest, without)
    try:
        _write(path, name, members)
        nbytes = path.stat().st_size
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"cannot write the bundle {path}: {reason}") from error
    return Packed(path, len(members), nbytes, absent)


def _members(
    run_dir: Path, manifest: Mapping[str, Any], without: tuple[str, ...]
) -> tuple[dict[str, Content], tuple[str, ...]]:
    """Return every member by its name, and the inputs that are not among them."""
    found: dict[str, Content] = {
        str(path.relative_to(run_dir)): path
        for path in run_dir.rglob("*")
        if path.is_file() and not _hidden(path.relative_to(run_dir))
    }
    if "samples" in without:
        # Nor as an export, export/samples.csv.
        held = {k: {*Path(k).parts, Path(k).stem} for k in found}
        found = {k: v for k, v in found.items() if "samples" not in held[k]}
    inputs, absent = _inputs(run_dir, manifest)
    found |= inputs
    found[SCENARIO] = manifest["scenario"]["text"].encode()
    found[LOCK] = requirements(manifest).encode()
    found[BUNDLE] = _about(run_dir, manifest, without, absent)
    found = dict(sorted(found.items()))
    lines = (f"{_sha256(content)}  {name}\n" for name, content in found.items())
    return {CHECKSUMS: "".join(lines).encode(), **found}, tuple(absent)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _about(
    run_dir: Path,
    manifest: Mapping[str, Any],
    without: tuple[str, ...],
    absent: list[str],
) -> bytes:
    summary = read_json(run_dir / "summary.json")
    about = {
        "schema": _SCHEMA,
        "scenario": manifest["scenario"]["name"],
        "run": run_dir.resolve().name,
        "djinnload": manifest["versions"]["djinnload"],
        "verdict": summary["verdict"]["status"],
        "exit_code": summary["exit_code"],
        "without": list(without),
        "absent": absent,
        "cells": identity(run_dir),
    }
    return msgspec.json.format(msgspec.json.encode(about), indent=1) + b"\n"


def _inputs(
    run_dir: Path, manifest: Mapping[str, Any]
) -> tuple[dict[str, Content], list[str]]:
    """Return the files that the scenario reads from its own folder, and all others.

    Another than the run had counts as absent.
    """
    found: dict[str, Content] = {}
    absent: dict[str, None] = {}
    for path in sorted((run_dir / "cells").glob("*/*/r*/manifest.json")):
        for population in read_json(path)["populations"].values():
            for each in population.get("files") or ():
                at = located(each["path"], manifest["scenario"]["path"])
                inside = not Path(each["path"]).is_absolute() and ".." not in at.parts
                if inside and at.is_file() and _sha256(at) == each["sha256"]:
                    found[f"scenario/{each['path']}"] = at
                else:
                    absent[each["path"]] = None
    return found, list(absent)


def _sha256(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, root: str, members: Mapping[str, Content]) -> None:
    """Write the archive whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            _compressed(file, path.name) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, content in members.items():
                _add(tar, f"{root}/{name}", content)
        Path(temporary).chmod(_MODE)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _add(tar: tarfile.TarFile, name: str, content: Content) -> None:
    info = tarfile.TarInfo(name)
    info.mode = _MODE
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        return
    info.size = content.stat().st_size
    with content.open("rb") as file:
        tar.addfile(info, file)


@contextmanager
def _compressed(file: IO[bytes], name: str) -> Iterator[Any]:
    """Open a compressed stream into *file* that holds no name and no time."""
    if name.endswith(".zst"):
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.PythonFile(file), "zstd") as stream:
            yield stream
        return
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        yield packed
