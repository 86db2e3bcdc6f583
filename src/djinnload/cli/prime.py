"""The verb that makes everything a run needs before any clock starts."""

import click

from djinnload.cli.help import examples
from djinnload.cli.options import ARM, SCENARIO, SEED, SET, loaded

__all__ = ("prime",)


@click.command(epilog=examples("djinnload prime qos_mix"))
@SCENARIO
@ARM
@SEED
@SET
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def prime(
    *,
    scenario: str,
    arms: tuple[str, ...],
    seed: int | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make or fetch all models of SCENARIO, before any clock.

    Also prepares its inputs once, and looks whether there is room for both.

    A run fetches nothing. Weights are kept in DJINNLOAD_CACHE, else
    ~/.cache/djinnload; those of a hub also in the hub's own cache.
    """
    import msgspec

    from djinnload import prime as making

    found = making.prime(
        loaded(scenario, changes, arms=arms, seed=seed),
        arms or None,
        on_progress=lambda what: click.echo(what, err=True),
    )
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    from djinnload.report import catalogs

    catalogs.show_primed(found)
