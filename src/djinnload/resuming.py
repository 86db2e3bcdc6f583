"""A run that stopped before its end → what is left to do of it, where it lies."""

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from djinnload import calibrate, documents, manifest
from djinnload.calibrate import Capacity
from djinnload.errors import DjinnloadError, HostError, ScenarioError
from djinnload.reading.files import read_json
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario, load, loads

__all__ = ("Asked", "Past", "asked", "held", "past")

Document = dict[str, Any]

#: Statuses of cells that are not measured again.
FINISHED = ("done", "void", "skipped")
#: Where cells go that are measured again, and calibrations.
ASIDE = "superseded"
_HOST = ("cpu", "cores", "system")


class Asked(Struct, frozen=True):
    """What a run was asked, in the words of `djinnload.runner.run`."""

    scenario: Scenario
    arms: list[str]
    accept: list[str]
    declare: dict[str, str]


class Past(Struct, frozen=True):
    """What a directory holds already; of a fresh one, nothing.

    Attributes:
        number: Of this resumption, from 1; 0: it is a fresh run.
        root: The manifest as it is; empty of a fresh run.
        entries: Of cells that are finished, by id.
        capacity: That the finished cells were measured at; None: not known yet.
        boots: Servers that were booted.
    """

    number: int = 0
    root: Document = {}
    entries: Mapping[str, Document] = {}
    capacity: Capacity | None = None
    boots: int = 0

    def index(self, order: Sequence[Cell], skipped: Sequence[Cell]) -> list[Document]:
        """Return the entries of ``index.json``: what is finished, and what is not."""
        made = [self.entries.get(cell.id) or documents.entry(cell) for cell in order]
        return made + [documents.entry(cell, "skipped") for cell in skipped]

    def prefix(self, path: Path) -> str:
        """Return what session ids begin with, other than what they did before."""
        return f"{path.name}.{self.number}" if self.number else path.name

    def begin(self, path: Path, index: Sequence[Document]) -> Document:
        """Put aside what is measured again; return what the manifest says from now on.

        Raises:
            HostError: It cannot be moved.
        """
        if not self.number:
            return {}
        left = [each for each in index if each["status"] not in FINISHED]
        moved = [str(each["path"]) for each in left]
        phases = ["calibration"] if self.capacity is None else []
        phases += [f"calibration/end-{kind}" for kind in ("mix", "solo")]
        try:
            for name in (*moved, *phases):
                if (path / name).exists():
                    aside = path / ASIDE / f"{self.number:02d}" / name
                    aside.parent.mkdir(parents=True, exist_ok=True)
                    (path / name).rename(aside)
        except OSError as error:
            raise HostError(f"cannot put {error.filename} aside: {error}") from error
        return self.root | {
            "resumed": [
                *(self.root.get("resumed") or ()),
                {
                    "anchor": manifest.anchor(),
                    "argv": sys.argv,
                    "cells": [each["id"] for each in left],
                    "was": self.root.get("error")
                    or ("interrupted" if self.root.get("interrupted") else "killed"),
                },
            ]
        }


def asked(path: Path, source: str | None = None) -> Asked:
    """Return what the run of a directory was asked.

    Args:
        path: A results directory.
        source: A scenario's path or name; None: the scenario, with its changes, is as
            the directory has it.

    Raises:
        ScenarioError: It holds no run, or one of another scenario.
    """
    root = _root(path)
    about = root["scenario"]
    if source is None:
        scenario = loads(about["text"], path=about["path"])
        if about["changes"]:
            scenario = scenario.replace(about["changes"])
    else:
        scenario = load(source)
        if scenario.sha256 != about["sha256"]:
            reason = (
                f"{path} cannot be gone on with: {_another(about, scenario.sha256)}"
            )
            raise _refused(reason)
    return Asked(
        scenario,
        list(root["arms"]),
        list(root.get("accepted") or ()),
        dict(root.get("declared") or {}),
    )


def past(path: Path, now: Mapping[str, Any]) -> Past:
    """Return what *path* holds of the run that *now* would be.

    Args:
        path: A results directory.
        now: The manifest of a fresh run.

    Raises:
        ScenarioError: It holds no run, a search, a run that is whole, or one of another
            scenario, other arms, versions or another host.
    """
    root = _root(path)
    if (path / "search.json").exists():
        raise _refused(f"{path} is a search, which is not resumed; start it again")
    if differs := list(_differences(root, now)):
        listed = "; ".join(differs)
        raise _refused(
            f"{path} cannot be gone on with: {listed}; start a run of its own"
        )
    entries = {
        each["id"]: each
        for each in _read(path / "index.json").get("cells") or ()
        if each["status"] in FINISHED[:2] and _whole(path / str(each["path"]))
    }
    if root.get("complete") and not root.get("interrupted"):
        reason = "is complete, nothing is left to do; djinnload report shows it"
        raise _refused(f"{path} {reason}")
    return Past(
        number=len(root.get("resumed") or ()) + 1,
        root=root,
        entries=entries,
        capacity=calibrate.restored(_read(path / "calibration.json")),
        boots=len(list(path.glob("server-b*.log"))) or _boots(entries.values()),
    )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep every other process from running into *path*.

    Raises:
        ScenarioError: One does.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refused(
                f"{path} is being written by a run that is going on"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def _boots(entries: "Sequence[Document] | Any") -> int:
    names = {str(each.get("boot")) for each in entries}
    return 1 + max((int(n[1:]) for n in names if n[1:].isdigit()), default=-1)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what finished cells and new ones would differ in."""
    old, new = then["scenario"], now["scenario"]
    if old["sha256"] != new["sha256"]:
        yield _another(old, new["sha256"])
    changes = [old["changes"], new["changes"]]
    for path in sorted({*changes[0], *changes[1]}):
        a, b = (each.get(path, "as in the file") for each in changes)
        if a != b:
            yield f"{path} was {a!r}, now {b!r}"
    if list(then["arms"]) != list(now["arms"]):
        yield f"arms were {', '.join(then['arms'])}, now {', '.join(now['arms'])}"
    for part, names in (("versions", None), ("host", _HOST)):
        a, b = then.get(part) or {}, now[part]
        for name in names or sorted({*a, *b}):
            if a.get(name) != b.get(name):
                yield f"{name} was {a.get(name)}, now {b.get(name)}"


def _another(then: Mapping[str, Any], sha256: str) -> str:
    before = f"sha256 {then['sha256'][:12]} then, {sha256[:12]} now"
    return f"the scenario file is another ({before})"


def _whole(cell_dir: Path) -> bool:
    found = _read(cell_dir / "manifest.json")
    return bool(found.get("complete")) and not found.get("interrupted")


def _root(path: Path) -> Document:
    found = _read(path / "manifest.json")
    if not isinstance(found.get("scenario"), dict):
        reason = "holds no manifest.json; give the directory that a run printed"
        raise _refused(f"{path} {reason}")
    return found


def _read(path: Path) -> Document:
    try:
        found = read_json(path)
    except (OSError, ValueError, DjinnloadError):
        return {}
    return found if isinstance(found, dict) else {}


def _refused(reason: str) -> ScenarioError:
    return ScenarioError("--resume", reason)
