"""TOML → a validated, immutable Scenario; changes by path; opens nothing else."""

import codecs
import hashlib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import field
from msgspec.structs import replace as with_fields

from djinnload.errors import ScenarioError, nearest
from djinnload.scenarios import paths, rates, variants
from djinnload.scenarios.points import ALL, Point
from djinnload.scenarios.schema import Arm, Document

__all__ = ("Scenario", "load", "loads", "parse_set", "shipped")

_AT_LINE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


class Scenario(Document, frozen=True, kw_only=True):
    """A scenario that has been checked.

    Attributes:
        document: As in the file, changes made; what everything else here is read from.
        text: The file's, untouched.
        path: Of the file; empty if there is none.
        sha256: Of the text, 64 hex digits.
        of_arm: Name of the arm whose changes are made; empty: none are.
        changes: Made by `replace` since it was read; they outlast an arm's ``set``.
    """

    document: dict[str, Any]
    text: str = ""
    path: str = ""
    sha256: str = ""
    of_arm: str = ""
    changes: dict[str, Any] = field(default_factory=dict)

    def replace(self, changes: Mapping[str, Any]) -> "Scenario":
        """Return this scenario with values changed by path, checked anew.

        Args:
            changes: Such as ``{"population.llm.users": 8}``; values as TOML has them.

        Raises:
            ScenarioError: A path leads nowhere, or what comes out is wrong.
        """
        document = paths.changed(self.document, changes)
        kept = paths.merged(self.changes, changes)
        parsed = variants.checked(document)
        if not self.of_arm:  # of what its arm unset, changes do not reach it
            try:
                paths.changed(document, kept)  # as `under` will
            except ScenarioError as error:
                reason = "names cannot be changed by path, edit the file"
                raise ScenarioError(error.path, reason) from None
            variants.check(document, parsed, kept)
        return with_fields(self, **_fields(parsed), document=document, changes=kept)

    def at_capacity(self, per_s: float) -> "Scenario":
        """Return this scenario with every rate "of capacity" as a plain rate.

        X of capacity becomes X × ``scenario.load`` × *per_s*; the new rates are in
        `changes`. A scenario without such rates is returned as it is.

        Args:
            per_s: Sessions/s, > 0.

        Raises:
            ScenarioError: *per_s* is no rate.
        """
        if not 0 < per_s < math.inf:
            reason = f"{per_s} sessions/s are no capacity, it must be greater than 0"
            raise ScenarioError("$.calibrate.capacity", reason)
        whole = self.scenario.load * per_s
        found = {
            f"population.{population.name}.arrival": rates.mapped(
                population.arrival, lambda part: f"{part * whole!r}/s"
            )
            for population in self.populations
            if rates.relative(population.arrival)
        }
        return self.replace(found) if found else self

    def under(self, arm: Arm, point: Point = ALL) -> "Scenario":
        """Return this scenario as *arm* runs it at *point*.

        The changes of the point are made first, then the arm's, then `changes`.

        Raises:
            ScenarioError: A path or value of these, or what comes out, is wrong.
        """
        index = next((i for i, a in enumerate(self.arms) if a.name == arm.name), 0)
        of = variants.Variant(point, arm, index)
        document, parsed = variants.made(self.document, of, self.changes)
        return with_fields(self, **_fields(parsed), document=document, of_arm=arm.name)


def load(source: str | Path) -> Scenario:
    """Read a scenario file, or one that ships with djinnload.

    Args:
        source: A path; or, as str, the name of a shipped scenario such as ``qos_mix``.

    Raises:
        ScenarioError: No such file or name, no TOML (says line and column), or wrong.
    """
    path = _find(source)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ScenarioError(str(path), f"cannot be read: {error.strerror}") from None
    return loads(_text(raw, path), path=str(path))


def loads(text: str, *, path: str = "") -> Scenario:
    """Return the scenario that *text* is.

    Raises:
        ScenarioError: No TOML (says line and column), or wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(str(error), text, path) from None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    parsed = variants.checked(document)
    variants.check(document, parsed, {})
    return Scenario(
        **_fields(parsed), document=document, text=text, path=path, sha256=sha256
    )


def shipped() -> dict[str, Path]:
    """Return the scenarios that ship with djinnload, by name."""
    package = Path(__file__).resolve().parent.parent
    # The wheel holds them in the package; a checkout has them next to src.
    for folder in (package / "shipped", package.parent.parent / "scenarios"):
        if found := {path.stem: path for path in sorted(folder.glob("*.toml"))}:
            return found
    return {}


def parse_set(text: str) -> tuple[str, Any]:
    """Return (path, value) of ``PATH=VALUE``; a value that is no TOML is a string.

    Raises:
        ScenarioError: No ``=``, or no path.
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        reason = f"{text!r} is not PATH=VALUE, such as population.llm.users=8"
        raise ScenarioError("--set", reason)
    try:
        made = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return path.strip(), value.strip()
    # A newline in the value must not smuggle in other keys.
    return path.strip(), made["value"] if len(made) == 1 else value.strip()


def _text(raw: bytes, path: Path) -> str:
    """Return a file's text, line ends as they are, for its sha256."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8)):
        reason = "begins with a byte order mark, save it as plain UTF-8"
        raise ScenarioError(str(path), reason)
    if not raw.strip():
        reason = "is empty, a scenario has [scenario] and [[population]]; run"
        raise ScenarioError(str(path), f"{reason} 'djinnload scenarios' for examples")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        reason = f"is no UTF-8 text, it has {raw[error.start]:#04x} at {error.start}"
        raise ScenarioError(str(path), f"{reason}; is it a TOML file?") from None


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise ScenarioError(str(path), "is a directory, name a .toml file in it")
    names = shipped()
    if isinstance(source, str) and source in names:
        return names[source]
    near = nearest(path.stem, names)
    hint = f", did you mean {near!r}?" if near else ""
    known = "run 'djinnload scenarios' for those, such as qos_mix"
    reason = f"no such file and no shipped scenario{hint} ({known})"
    raise ScenarioError(str(source), reason)


def _toml_error(message: str, text: str, path: str) -> ScenarioError:
    found = _AT_LINE.fullmatch(message)
    if found:
        reason, line, column = found[1], int(found[2]), int(found[3])
    else:
        reason = message.removesuffix(" (at end of document)")
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    where = f"{path or 'scenario'}:{line}:{column}"
    return ScenarioError(where, f"is no TOML, line {line}, column {column}: {reason}")


def _fields(parsed: Document) -> dict[str, Any]:
    return {name: getattr(parsed, name) for name in Document.__struct_fields__}
