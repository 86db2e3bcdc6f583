"""What a verb leaves behind: report, runbook, the JSON asked for, words on screen."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from djinnload.errors import HostError, ScenarioError
from djinnload.report import html, repeat_text, runbook, search_text, text

__all__ = ("show", "show_decision", "show_repeat", "show_search")


def show(
    path: Path, summary: Mapping[str, Any], *, quiet: bool, json_to: str | None
) -> None:
    """Write a run's report and runbook, and print it.

    Raises:
        HostError: The report cannot be written.
        ScenarioError: The JSON cannot.
    """
    try:
        _write_files(path)
        _write_json(summary, json_to)
    finally:
        # A file that cannot be written hides no verdict.
        if json_to != "-":
            text.show(summary, path, quiet=quiet)


def show_decision(found: Mapping[str, Any], *, json_to: str | None) -> None:
    """Print what ``compare`` found, and write it.

    Raises:
        ScenarioError: The JSON cannot be written.
    """
    try:
        _write_json(found, json_to)
    finally:
        if json_to != "-":
            text.show_decision(found)


def show_repeat(
    result: Any, found: Mapping[str, Any], *, quiet: bool, json_to: str | None
) -> None:
    """Write the report and runbook of a run that repeats another, and print both.

    Args:
        result: The `Result` of the new run.
        found: Its ``rerun.json``, which is the JSON.
        quiet: Only what the repeat came to.
        json_to: A file, ``-`` for stdout, or None.

    Raises:
        HostError: The report cannot be written.
        ScenarioError: The JSON cannot.
    """
    try:
        _write_files(result.path)
        _write_json(found, json_to)
    finally:
        if json_to != "-":
            text.show(result.summary, result.path, quiet=quiet)
            repeat_text.show(found, quiet=quiet)


def show_search(
    path: Path, summary: Mapping[str, Any], *, quiet: bool, json_to: str | None
) -> None:
    """Write the report of a search and print it; the JSON is its ``search.json``.

    Raises:
        HostError: The report cannot be written.
        ScenarioError: The JSON cannot.
    """
    try:
        _write_files(path)
        _write_json(summary["search"], json_to)
    finally:
        if json_to != "-":
            name = str(summary.get("scenario") or "")
            search_text.show(summary["search"], path, title=name, quiet=quiet)


def _write_files(path: Path) -> None:
    try:
        html.write(path)
        runbook.write(path)
    except OSError as error:
        raise HostError(f"cannot write the report: {error}") from error


def _write_json(found: Mapping[str, Any], json_to: str | None) -> None:
    if json_to == "-":
        click.echo(json.dumps(found))
    elif json_to is not None:
        try:
            Path(json_to).write_text(json.dumps(found), encoding="utf-8")
        except OSError as error:
            raise ScenarioError("--json", f"cannot write it: {error}") from None
