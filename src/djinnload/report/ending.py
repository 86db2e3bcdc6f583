"""What a verb leaves behind: report, runbook, the JSON asked for, words on screen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from djinnload.errors import HostError, ScenarioError
from djinnload.regressions import Run
from djinnload.report import html, repeat_text, runbook, search_text, text
from djinnload.report.page import comparison

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


def show_decision(
    found: Mapping[str, Any],
    sides: Sequence[Run] = (),
    *,
    json_to: str | None,
    html_to: str | None = None,
) -> None:
    """Print what ``compare`` found, and write it.

    Args:
        found: Its document, which is the JSON.
        sides: What was compared, for the page.
        json_to: A file, ``-`` for stdout, or None.
        html_to: A file for the page, or None.

    Raises:
        ScenarioError: The JSON or the page cannot be written.
    """
    try:
        _write_json(found, json_to)
        if html_to is not None:
            _write_page(found, sides, Path(html_to))
    finally:
        if json_to != "-":
            text.show_decision(found)
            if html_to is not None:
                click.echo(f"page: {html_to}")


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


def _write_page(found: Mapping[str, Any], sides: Sequence[Run], path: Path) -> None:
    try:
        comparison.write(found, sides, path)
    except OSError as error:
        raise ScenarioError("--html", f"cannot write it: {error}") from None


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
            reason = f"cannot write {json_to}: {error.strerror or error}"
            raise ScenarioError("--json", reason) from None
