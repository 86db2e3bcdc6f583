"""Errors on stderr, and a run that is shown while it goes on."""

import os
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import click

from djinnload.cli.metrics import served
from djinnload.cli.stopping import INTERRUPTED, patient, stoppable
from djinnload.errors import DjinnloadError

__all__ = (
    "INTERRUPTED",
    "ended",
    "say_bug",
    "say_error",
    "say_usage",
    "watched",
)


def say_error(text: str) -> None:
    """Print an error on stderr; in colour on a terminal, unless NO_COLOR is set."""
    plain = False if os.environ.get("NO_COLOR") else None
    label = click.style("error:", fg="red", bold=True)
    click.echo(f"{label} {text}", err=True, color=plain)


def say_usage(error: click.ClickException) -> None:
    """Print what is wrong with a command line, and how it is written."""
    said = error.format_message()
    say_error(f"{said[0].lower()}{said[1:].removesuffix('.')}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"More: {error.ctx.command_path} --help", err=True)


def say_bug(error: Exception) -> None:
    """Print one line on a failure of ours, and keep the traceback in a file."""
    trace = traceback.format_exc()
    what = f"{type(error).__name__}: {error}"
    if os.environ.get("DJINNLOAD_DEBUG"):
        click.echo(trace, err=True)
    where = "set DJINNLOAD_DEBUG=1 to see the traceback"
    with suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="djinnload-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(trace)
        where = f"the traceback is in {path}"
    say_error(f"djinnload itself failed, {what}; {where}")


def ended(result: Any, show: Callable[[], None]) -> int:
    """Show the `Result` of a run, and return its exit code.

    Raises:
        DjinnloadError: From *show*; of an interrupted run it is only said, as whoever
            stopped it waits for that code.
    """
    try:
        with patient():
            show()
    except DjinnloadError as error:
        if result.exit_code != INTERRUPTED:
            raise
        say_error(str(error))
    finally:
        if result.error:
            say_error(result.error)
    return int(result.exit_code)


def watched(
    run: Callable[..., Awaitable[Any]],
    *,
    quiet: bool,
    style: str,
    metrics: tuple[str, int] | None = None,
    **options: Any,
) -> Any:
    """Return what ``run(on_progress=, stop=, **options)`` comes to, shown live.

    Args:
        run: Of a scenario.
        quiet: Show nothing, whatever the style.
        style: Of `report.live.STYLES`.
        metrics: Host and port to serve them at; None: nowhere.
        **options: For *run*.
    """
    from djinnload.report.live import LiveView

    shown: Any = "none" if quiet else style

    with served(metrics, quiet=quiet) as told:

        async def work(stop: Any) -> Any:
            with LiveView(shown, on_stop=stop.set) as view:

                def on_progress(progress: Any) -> None:
                    view.update(progress)
                    told(progress)

                return await run(on_progress=on_progress, stop=stop, **options)

        return stoppable(work)
