"""The verb that looks whether a run could succeed here."""

from pathlib import Path

import click

from djinnload.cli import completions
from djinnload.cli.help import examples
from djinnload.cli.options import ARM, OUT, SET, TARGET, loaded
from djinnload.cli.stopping import INTERRUPTED, stoppable

__all__ = ("doctor",)


@click.command(
    epilog=examples("djinnload doctor", "djinnload doctor qos_mix --target HOST:5556")
)
@click.argument("scenario", required=False, shell_complete=completions.scenarios)
@TARGET
@OUT
@ARM
@SET
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def doctor(
    *,
    scenario: str | None,
    target: str | None,
    out: Path | None,
    arms: tuple[str, ...],
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Look whether this machine and a server are fit for a run.

    Without SCENARIO: this machine alone. Each check says what was seen and what to do.

    \b
    Exit codes: 0 nothing fails, warnings may be · 1 a check fails ·
    2 scenario wrong
    """  # noqa: D301 - click reads the control character
    import msgspec

    from djinnload.doctor import checks
    from djinnload.doctor import facts as host_facts
    from djinnload.doctor import needs as preflight
    from djinnload.interrupting import unless_stopped
    from djinnload.models.weights import cache_dir

    needs = None
    if scenario is not None:
        asked = loaded(scenario, changes, arms=arms)

        async def ask() -> None:
            nonlocal needs
            needs = await preflight.needs_of(asked, arms or None, target)

        if not stoppable(lambda stop: unless_stopped(stop, ask)):
            return INTERRUPTED
    host = host_facts.gathered(out or Path("results"), cache_dir())
    found = checks.examined(host, needs)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        from djinnload.report import doctor_text

        doctor_text.show(found)
    return 0 if found.ok else 1
