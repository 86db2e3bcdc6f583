"""The verb that makes everything a run needs before any clock starts."""

import click

from djinnload.cli.options import ARM, SEED, SET, loaded

__all__ = ("prime",)


@click.command()
@click.argument("scenario")
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
    """Fetch or make all models of SCENARIO, prepare its inputs, check the room.

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
