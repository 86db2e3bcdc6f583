"""A run's directory → ``report.html``: one file that needs no network."""

from pathlib import Path

from djinnload.reading.files import read_document
from djinnload.report.experiments import rendering
from djinnload.report.experiments.section import section
from djinnload.report.page import context
from djinnload.report.page.placing import replace
from djinnload.report.page.template import rendered
from djinnload.summary.fold import fold_run

__all__ = ("write",)


def write(run_dir: Path) -> Path:
    """Write report.html and figures/*.svg of a run; return the former.

    Of a run that was killed it shows what there is. The same directory gives the same
    bytes.

    Args:
        run_dir: With summary.json and curves.json; where these are missing they are
            made, by `djinnload.summary.fold.fold_run`.

    Raises:
        OSError: No room, or no such directory.
        ScenarioError: An experiment lacks an arm; the page is written and says so.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such directory")
    summary = read_document(run_dir / "summary.json")
    if not summary or not (run_dir / "curves.json").exists():
        summary = fold_run(run_dir)
    experiment = rendering.render(run_dir, summary)
    void = (summary.get("verdict") or {}).get("status") == "void"
    shown = section(experiment, summary.get("claims") or (), void=void)
    told = context.of_run(run_dir, summary, used=len(shown.encode("utf-8", "replace")))
    path = run_dir / "report.html"
    replace(path, rendered("run.html.j2", told | {"experiment": shown}))
    if experiment is not None and experiment.problem is not None:
        raise experiment.problem
    return path
