"""argv → verbs: the only place that prints, picks the event loop and sets exit codes.

``--help`` imports nothing heavy: what a verb needs is imported when it runs.
"""

import os
import sys
from collections.abc import Sequence

import click

from djinnload import __version__
from djinnload.cli import (
    bundles,
    catalogs,
    completions,
    doctor,
    legacy,
    plugins,
    prime,
    results,
    run,
    search,
    serve,
)
from djinnload.cli.help import Verbs, examples
from djinnload.cli.terminal import INTERRUPTED, say_bug, say_error, say_usage
from djinnload.errors import DjinnloadError

__all__ = ("main",)

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
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _USAGE
    except click.ClickException as error:
        say_usage(error)
        return _USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except DjinnloadError as error:
        say_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read us has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - a bug, told in one line
        say_bug(error)
        return _UNEXPECTED
    return code if isinstance(code, int) else 0


_SECTIONS = {
    "Measure": (run.run, run.check, doctor.doctor, prime.prime, search.search),
    "Read and repeat": (
        results.report,
        results.compare,
        bundles.bundle,
        bundles.rerun,
    ),
    "What scenarios can name": (
        catalogs.scenarios,
        plugins.workloads,
        catalogs.models,
        plugins.schema,
    ),
    "Set up": (
        serve.serve,
        plugins.new_plugin,
        legacy.import_,
        completions.completions,
    ),
}


@click.group(
    cls=Verbs,
    sections=_SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("djinnload run quick", "djinnload run --help"),
)
@click.version_option(__version__, prog_name="djinnload")
def command() -> None:
    """Load generation for ML model servers that survives a hostile reviewer.

    \b
    Exit codes: 0 pass · 1 an objective failed · 2 scenario or command wrong ·
    3 could not run · 4 void, cannot be trusted · 130 interrupted
    """  # noqa: D301 - click reads the control character
