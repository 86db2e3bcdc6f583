"""The option that has metrics of a run served, and the serving of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

__all__ = ("METRICS", "Address", "served")

#: Where metrics are served unless told otherwise: to this machine alone.
_HOST = "127.0.0.1"
_PORTS = 65535


class Address(click.ParamType[tuple[str, int]]):
    """``[HOST:]PORT`` → host and port."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """See `click.ParamType`."""
        host, _, port = value.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) <= _PORTS):
            self.fail(f"{value!r} is no [HOST:]PORT, such as 9464", param, ctx)
        return host.removeprefix("[").removesuffix("]") or _HOST, int(port)


METRICS = click.option(
    "--metrics",
    type=Address(),
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus there while it runs; 0: any free port.",
)


@contextmanager
def served(
    address: tuple[str, int] | None, *, quiet: bool
) -> Iterator[Callable[[Any], None]]:
    """Yield what is to be told each `Progress`; None: nothing is served.

    Raises:
        ScenarioError: What serves them is not installed.
        HostError: It cannot listen there.
    """
    if address is None:
        yield lambda _: None
        return
    from djinnload.report.endpoint import Endpoint

    with Endpoint(*address) as endpoint:
        if not quiet:
            click.echo(f"metrics: {endpoint.url}", err=True)
        yield endpoint.update
