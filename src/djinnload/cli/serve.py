"""The reference server as a command."""

import json
import os
import sys
from functools import partial

import click

from djinnload.cli.help import examples
from djinnload.cli.stopping import stoppable

__all__ = ("serve",)


@click.command(epilog=examples("djinnload serve --port 5556 --policy fcfs --slots 2"))
@click.option(
    "--host",
    metavar="HOST",
    help="To listen on; default: DJINNLOAD_SERVER_HOST, or 127.0.0.1.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="To listen on; 0: any free one; default: GENIE_DATA_PORT, or 5556.",
)
@click.option(
    "--policy",
    type=click.Choice(["qos", "fcfs", "none"]),
    help="Classes, one queue, or no queue; default: GENIE_ENABLE_QOS, or qos.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Requests that execute at once; default: GENIE_QOS_MAX_CONCURRENCY, or 4.",
)
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

    from djinnload.interrupting import unless_stopped
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

    work = partial(serve_models, settings, on_ready=ready)
    stoppable(lambda stop: unless_stopped(stop, work))
    return 0
