"""A plugin's first files: a package that is installed and tested as it stands."""

import re
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from djinnload import registry
from djinnload.errors import HostError, ScenarioError

__all__ = ("KINDS", "write_plugin")

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_USAGE = {
    "workload": 'workload = {{ use = "{name}", turns = 2 }}',
    "arrival": 'arrival = {{ process = "{name}", rate = "20/s" }}',
    "target": '[target]\nuse = "{name}"',
}
KINDS = tuple(_USAGE)


def write_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write ``djinnload-<name>/`` into *parent* and return it.

    Args:
        name: Of the plugin, as scenarios will say it.
        kind: One of `KINDS`.
        parent: Must exist.

    Raises:
        ScenarioError: No name for a plugin, taken here, or the folder is there already.
        HostError: It cannot be written.
    """
    import jinja2

    _check(name, kind)
    package, module = f"djinnload-{name.replace('_', '-')}", f"djinnload_{name}"
    root = parent / package
    if root.exists():
        raise ScenarioError(str(root), "is there already, it is left as it is")
    values = {
        "name": name,
        "package": package,
        "module": module,
        "kind": "".join(part.capitalize() for part in name.split("_")),
        "group": kind,
        "version": metadata.version("djinnload"),
        "usage": _USAGE[kind].format(name=name),
    }
    template = files("djinnload") / "plugin_template"
    made = {
        "pyproject.toml": template / "pyproject.toml.jinja",
        "README.md": template / "README.md.jinja",
        f"src/{module}/__init__.py": template / kind / "plugin.py.jinja",
        f"tests/test_{name}.py": template / kind / "test.py.jinja",
    }
    # The text becomes Python and TOML, not HTML.
    environment = jinja2.Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701
    try:
        for path, source in made.items():
            text = environment.from_string(source.read_text(encoding="utf-8"))
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text.render(values), encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write {root}: {error}") from error
    return root


def _check(name: str, kind: str) -> None:
    if not _NAME.match(name):
        reason = f"{name!r} names no plugin: a-z, 0-9 and _, starting with a letter"
        raise ScenarioError("NAME", reason)
    for entry in registry.entries(f"djinnload.{kind}s"):
        if entry.name == name:
            raise ScenarioError(
                "NAME", f"{entry.package} has the {kind} {name} already"
            )
