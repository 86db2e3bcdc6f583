"""Checks of a preflight, in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.doctor.checks import Report

__all__ = ("show",)

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def show(report: Report) -> None:
    """Print each check, and what to do about those that did not pass."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in report.checks:
        style = _STYLES[check.status]
        said = escape(check.said)
        fix = f"\n→ {escape(check.fix)}" if check.fix else ""
        table.add_row(f"[{style}]{check.status}[/]", check.name, said + fix)
    console.print(table)
    counts = {
        status: sum(check.status == status for check in report.checks)
        for status in _STYLES
    }
    listed = ", ".join(f"{n} {status}" for status, n in counts.items())
    of = f"{report.scenario}: " if report.scenario else ""
    console.print(f"\n[bold]{escape(of)}{listed}[/]")
