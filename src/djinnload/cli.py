"""argv → verbs: the only place that prints, picks the event loop and sets exit codes.

``--help`` imports nothing heavy: what a verb needs is imported when it runs.
"""

import asyncio  # noqa: TID251 - signals, and the loop they stop
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from djinnload import __version__
from djinnload.errors import DjinnloadError, ScenarioError

__all__ = ("main",)

INTERRUPTED = 130
_USAGE = 2
_UNEXPECTED = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    sys.exit(invoke(sys.argv[1:] if argv is None else argv))


def invoke(argv: Sequence[str]) -> int:  # noqa: PLR0911 - one for each kind of end
    """Run the command and return its exit code; prints errors, raises none."""
    try:
        code = command.main(list(argv), prog_name="djinnload", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return _USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except DjinnloadError as error:
        _say_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read us has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - a bug, told in one line
        _say_bug(error)
        return _UNEXPECTED
    return code if isinstance(code, int) else 0


def _say_error(text: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True)


def _say_bug(error: Exception) -> None:
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
    _say_error(f"djinnload itself failed, {what}; {where}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="djinnload")
def command() -> None:
    """Load generation for ML model servers that survives a hostile reviewer.

    \b
    Exit codes: 0 pass · 1 an objective failed · 2 scenario or command wrong ·
    3 could not run · 4 void, cannot be trusted · 130 interrupted
    """  # noqa: D301 - click reads the control character


_ARM = click.option(
    "--arm", "arms", multiple=True, metavar="NAME", help="Only this arm; repeatable."
)
_SET = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change the scenario, as in --set population.chat.users=8; repeatable.",
)
_DURATION = click.option("--duration", metavar="D", help="Of measure, such as 30s.")
_REPEATS = click.option("--repeats", type=click.IntRange(1, 99), help="Of every arm.")
_SEED = click.option("--seed", type=int, help="Instead of the scenario's.")
_JSON = click.option(
    "--json", "json_to", metavar="FILE", help="Write the result there; - is stdout."
)


def _scenario(
    source: str,
    changes: Sequence[str],
    duration: str | None,
    repeats: int | None,
    seed: int | None,
) -> Any:
    from djinnload.scenarios.load import load, parse_set

    scenario = load(source)
    given = {"duration": duration, "repeats": repeats, "seed": seed}
    short = {f"scenario.{k}": v for k, v in given.items() if v is not None}
    wanted = short | dict(parse_set(change) for change in changes)
    return scenario.replace(wanted) if wanted else scenario


@command.command()
@click.argument("scenario")
@click.option("--target", metavar="HOST:PORT", help="A running server.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="For results; default: results."
)
@_ARM
@_DURATION
@_REPEATS
@_SEED
@_SET
@click.option(
    "--accept", multiple=True, metavar="CODE", help="Does not void; is recorded."
)
@click.option(
    "--declare",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the server that you vouch for, such as policy=qos.",
)
@click.option("--quiet", is_flag=True, help="Only the verdict, at the end.")
@_JSON
def run(
    *,
    scenario: str,
    target: str | None,
    out: Path | None,
    arms: tuple[str, ...],
    duration: str | None,
    repeats: int | None,
    seed: int | None,
    changes: tuple[str, ...],
    accept: tuple[str, ...],
    declare: tuple[str, ...],
    quiet: bool,
    json_to: str | None,
) -> int:
    """Run SCENARIO (a TOML file, or the name of one that ships) to its verdict."""
    loaded = _scenario(scenario, changes, duration, repeats, seed)
    declared = dict(_pair(each, "--declare") for each in declare)
    from djinnload.report import ending
    from djinnload.report.live import LiveView
    from djinnload.runner import run as run_scenario

    async def work(stop: Any) -> Any:
        with LiveView(quiet=quiet) as view:
            return await run_scenario(
                loaded,
                out=out,
                target=target,
                arms=arms or None,
                on_progress=view.update,
                stop=stop,
                accept=accept,
                declare=declared,
            )

    result = _stoppable(work)
    try:
        ending.show(result.path, result.summary, quiet=quiet, json_to=json_to)
    finally:
        if result.error:
            _say_error(result.error)
    return int(result.exit_code)


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ScenarioError(option, f"{text!r} should be KEY=VALUE")
    return key, value


def _stoppable(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run *work* on uvloop; the first signal asks it to stop, the second ends it."""
    import anyio

    async def inside() -> Any:
        stop = anyio.Event()
        loop = asyncio.get_running_loop()
        this = asyncio.current_task()

        def on_signal() -> None:
            if stop.is_set() and this is not None:
                this.cancel()
            stop.set()

        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, on_signal)
        return await work(stop)

    try:
        return anyio.run(inside, backend_options={"use_uvloop": True})
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@command.command()
@click.argument("scenario")
@_ARM
@_DURATION
@_REPEATS
@_SEED
@_SET
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def check(
    *,
    scenario: str,
    arms: tuple[str, ...],
    duration: str | None,
    repeats: int | None,
    seed: int | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Validate SCENARIO and print what a run would do; opens nothing."""
    import msgspec

    from djinnload.describe import describe

    found = describe(
        _scenario(scenario, changes, duration, repeats, seed), arms=arms or None
    )
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    from djinnload.report import text

    text.show_plan(found)


@command.command()
@click.option("--host", help="Default: DJINNLOAD_SERVER_HOST, or 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--policy", type=click.Choice(["qos", "fcfs", "none"]))
@click.option("--slots", type=click.IntRange(1, 4096))
@click.option("--exit-with-parent", is_flag=True, help="End when stdin ends.")
def serve(
    *,
    host: str | None,
    port: int | None,
    policy: str | None,
    slots: int | None,
    exit_with_parent: bool,
) -> int:
    """Serve models as the reference server, over Djinn's wire.

    Its other settings are environment variables: Djinn's own (GENIE_…) and
    DJINNLOAD_SERVER_…; see docs/server.md.
    """
    import msgspec

    from djinnload.server.app import serve as serve_models
    from djinnload.server.settings import Settings

    given = {"host": host, "port": port, "policy": policy, "slots": slots}
    chosen = {key: value for key, value in given.items() if value is not None}
    settings = msgspec.structs.replace(
        Settings.from_environment(os.environ),
        exit_with_parent=exit_with_parent,
        **chosen,
    )

    def ready(at: str, on: int) -> None:
        click.echo(json.dumps({"ready": {"host": at, "port": on}}))
        sys.stdout.flush()

    async def work(stop: Any) -> None:
        import anyio

        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await stop.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await serve_models(settings, on_ready=ready)
            tasks.cancel_scope.cancel()

    try:
        _stoppable(work)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return 0


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@_JSON
def report(*, directory: Path, json_to: str | None) -> None:
    """Make summary and report of a results DIRECTORY again; also of a killed run."""
    if not (directory / "manifest.json").is_file():
        reason = "holds no manifest.json; give the directory that a run printed"
        raise ScenarioError(str(directory), reason)
    from djinnload.errors import HostError
    from djinnload.report import ending
    from djinnload.summary import fold_run

    try:
        summary = fold_run(directory)
    except OSError as error:
        raise HostError(f"cannot write the summary: {error}") from error
    ending.show(directory, summary, quiet=False, json_to=json_to)


@command.command()
@click.argument("runs", nargs=-1, metavar="NEW BASELINE | RUN --arms NEW,BASELINE")
@click.option("--arms", metavar="NEW,BASELINE", help="Two arms of one run.")
@click.option("--metric", "metrics", multiple=True, metavar="M", help="As p95(ttft).")
@click.option("--tolerance", default="5%", show_default=True, help="Not worse than.")
@click.option("--allow", multiple=True, metavar="KEY", help="May differ, as host.")
@_JSON
def compare(*, runs: tuple[str, ...], json_to: str | None, **asked: Any) -> int:
    """Say whether a run is worse than a baseline: docs/compare.md.

    Exit codes: 0 no regression · 1 regression · 2 not comparable · 4 void or undecided
    """
    from djinnload import regressions
    from djinnload.report import ending
    from djinnload.summary import read_run

    question = regressions.ask(len(runs), **asked)
    sides = [regressions.Run(run, *read_run(Path(run))) for run in runs]
    found = regressions.answer(question, sides)
    ending.show_decision(found, json_to=json_to)
    for each in regressions.refusals(found):
        _say_error(each)
    return int(found["exit_code"])


@command.command()
@click.argument("name", required=False)
def workloads(*, name: str | None) -> None:
    """List workloads; with NAME, show one's options. The list imports no plugin."""
    from djinnload import registry

    if name is None:
        for entry in registry.entries(registry.WORKLOADS):
            click.echo(f"{entry.name:16} {entry.package} {entry.version}")
        return
    kind = registry.find(registry.WORKLOADS, name, path="workloads NAME")
    click.echo((kind.__doc__ or name).strip().splitlines()[0])
    _show_options(kind.Options)


def _show_options(options: Any) -> None:
    import msgspec

    for field in msgspec.structs.fields(options):
        kind = getattr(field.type, "__name__", str(field.type))
        default = "required" if field.required else f"default {field.default!r}"
        click.echo(f"  {field.encode_name:16} {kind}, {default}")


@command.command()
def models() -> None:
    """List the models that scenarios can name; none is built or fetched."""
    from djinnload.models import catalog

    for name in catalog.names():
        found = catalog.find(name, seed=0)
        click.echo(f"{name:16} {found.architecture}")


if __name__ == "__main__":
    main()
