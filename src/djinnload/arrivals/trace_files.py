"""Trace files of the field → when sessions came and how long they were.

Read once, whole, into columns of numbers (16 bytes a session); what is wrong with a
file is said by its line and column, before anything runs.
"""

import csv
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import nan
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

__all__ = ("FORMATS", "Rows", "TraceError", "read")

_NS = 1_000_000_000
_LONGEST = 2**31 - 1
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)?"
)


class TraceError(ValueError):
    """A trace cannot be read; says where and what to do."""


class Rows(Struct, frozen=True):
    """Sessions of a trace, in order.

    Attributes:
        times: ns after the first session of the file, never falling.
        inputs: Tokens of each prompt.
        outputs: Tokens of each answer.
    """

    times: "array[int]"
    inputs: "array[int]"
    outputs: "array[int]"


class _Format(NamedTuple):
    """Columns of a format: time, input tokens, output tokens; how a time is read."""

    time: str
    inputs: str
    outputs: str
    ns: Callable[[Any], int]


def _timestamp(value: Any) -> int:
    """Return ns since 1970 of ``2023-11-16 18:17:03.9799600``; no zone: UTC."""
    found = _TIME.fullmatch(value)
    if not found:
        raise ValueError("no date and time like 2023-11-16 18:17:03.9799600")
    day, clock, fraction, zone = found.groups()
    whole = datetime.fromisoformat(
        f"{day} {clock}{(zone or '+00:00').replace('Z', '+00:00')}"
    )
    since = whole - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _NS + int(
        (fraction or "").ljust(9, "0")
    )


def _scaled(unit_ns: int, unit: str) -> Callable[[Any], int]:
    def read_number(value: Any) -> int:
        try:
            number = float("" if isinstance(value, bool) else value)
            # Past the range of the columns: no clock's, and no difference fits.
            return round(number * unit_ns if abs(number) < 2**60 / unit_ns else nan)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"no number of {unit}") from None

    return read_number


#: By name; detected by the names of the columns.
FORMATS: Mapping[str, _Format] = {
    "azure": _Format("TIMESTAMP", "ContextTokens", "GeneratedTokens", _timestamp),
    "mooncake": _Format(
        "timestamp", "input_length", "output_length", _scaled(1_000_000, "ms")
    ),
    "burstgpt": _Format(
        "Timestamp", "Request tokens", "Response tokens", _scaled(_NS, "seconds")
    ),
}


def read(
    path: str, kind: str = "auto", *, start: int = 0, time: int | None = None
) -> Rows:
    """Return the sessions of the file *path*; cached while it does not change.

    Args:
        path: Relative to the working directory.
        kind: Of `FORMATS`, or ``auto``.
        start: ns after its first session that are left out.
        time: ns after *start* that are read; None: to the end.

    Raises:
        TraceError: It cannot be opened, is in no known format, a line is wrong, its
            times fall, or nothing is left.
    """
    try:
        state = Path(path).stat()
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}"
        raise TraceError(f"{reason} (from {Path.cwd()})") from None
    end = None if time is None else start + time
    return _read(path, kind, start, end, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _read(
    path: str, kind: str, start: int, end: int | None, _: tuple[int, int]
) -> Rows:
    rows = Rows(array("q"), array("i"), array("i"))
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            last = _fill(rows, path, _parsed(path, kind, lines), (start, end))
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path} is not UTF-8 text, unpack it first") from None
    if last is None:
        raise TraceError(f"{path} has no sessions, only a header or nothing at all")
    if not rows.times:
        reason = f"nothing of {path} is left: it ends after {last / _NS:g}s"
        raise TraceError(f"{reason}, begin earlier (start) or take more (time)")
    return rows


def _fill(
    rows: Rows,
    path: str,
    parsed: Iterator[tuple[int, tuple[int, int, int], str]],
    window: tuple[int, int | None],
) -> int | None:
    """Append what is in *window*; return the time of the last row read, None: none."""
    start, end = window
    origin = before = None
    times, inputs, outputs = rows.times, rows.inputs, rows.outputs
    for line, (at, prompt, answer), column in parsed:
        origin = at if origin is None else origin
        if before is not None and at < before:
            reason = "is earlier than the line before, sort the file by time first"
            raise TraceError(f"{path}, line {line}, column {column}: {reason}")
        before = at
        if end is not None and at - origin >= end:
            break
        if at - origin >= start:
            times.append(at - origin - start)
            inputs.append(prompt)
            outputs.append(answer)
    return None if before is None or origin is None else before - origin


def _parsed(
    path: str, kind: str, lines: Any
) -> Iterator[tuple[int, tuple[int, int, int], str]]:
    """Yield (line, (ns, input tokens, output tokens), name of the time's column)."""
    first = lines.readline()
    lines.seek(0)
    json_lines = first.lstrip().startswith("{")
    found = (_json_rows if json_lines else _csv_rows)(path, kind, lines)
    for line, form, row in found:
        yield line, _values(path, line, form, row), form.time


#: Time, input and output tokens as the file has them; None: it has none.
_Raw = tuple[Any, ...]


def _csv_rows(path: str, kind: str, lines: Any) -> Iterator[tuple[int, _Format, _Raw]]:
    reader = csv.reader(lines, strict=True)
    form = None
    try:
        names = next(reader, [])
        for row in filter(None, reader):
            if form is None:
                form = _format(path, kind, names)
                wanted = [names.index(name) for name in form[:3]]
                picked = itemgetter(*wanted)
            whole = len(row) >= len(names)
            yield reader.line_num, form, picked(row) if whole else _short(row, wanted)
    except csv.Error as error:
        raise TraceError(f"{path}, line {reader.line_num}: no CSV, {error}") from None


def _short(row: list[str], wanted: list[int]) -> tuple[str | None, ...]:
    return tuple(row[i] if i < len(row) else None for i in wanted)


def _json_rows(path: str, kind: str, lines: Any) -> Iterator[tuple[int, _Format, _Raw]]:
    form = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            where = f"{path}, line {number}, column {error.colno}"
            raise TraceError(f"{where}: no JSON, {error.msg}") from None
        if not isinstance(row, dict):
            raise TraceError(f"{path}, line {number}, column 1: no JSON object")
        form = form or _format(path, kind, row)
        yield number, form, tuple(row.get(name) for name in form[:3])


def _format(path: str, kind: str, names: Iterable[str]) -> _Format:
    names = list(names)
    for name, form in FORMATS.items():
        if kind in {"auto", name} and set(form[:3]) <= set(names):
            return form
    wanted = FORMATS.items() if kind == "auto" else [(kind, FORMATS[kind])]
    columns = "; ".join(f"{n}: {', '.join(form[:3])}" for n, form in wanted)
    has = ", ".join(map(repr, names)) or "none"
    raise TraceError(f"{path}, line 1: its columns are {has}, wanted are {columns}")


def _values(path: str, line: int, form: _Format, row: _Raw) -> tuple[int, int, int]:
    column = 0
    try:
        at = form.ns(_given(row[0]))
        column = 1
        prompt = _tokens(_given(row[1]))
        column = 2
        return at, prompt, _tokens(_given(row[2]))
    except ValueError as error:
        where = f"{path}, line {line}, column {form[column]}"
        reason = f"{row[column]!r} is {error}, correct or remove the line"
        raise TraceError(f"{where}: {reason}") from None


def _given(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError("no value")
    return value


def _tokens(value: Any) -> int:
    try:
        # An exact type: True and 3.5 are no numbers of tokens.
        count = int(value) if type(value) in {int, str} else -1
    except ValueError:
        count = -1
    if not 0 <= count <= _LONGEST:
        raise ValueError("no number of tokens")
    return count
