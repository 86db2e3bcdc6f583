"""The packages under plugins/ use only what a stranger may use."""

import ast
from pathlib import Path

import pytest

from djinnload import registry
from djinnload.errors import UnknownName

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PACKAGES = sorted(path for path in PLUGINS.iterdir() if path.is_dir())


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_there_are_some():
    assert len(PACKAGES) >= 2


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_only_the_spi_is_imported(package):
    allowed = {"src": {"djinnload.spi"}}
    allowed["tests"] = allowed["src"] | {"djinnload", "djinnload.testing"}
    for part, names in allowed.items():
        for path in (package / part).rglob("*.py"):
            used = {each for each in imported(path) if each.startswith("djinnload")}
            theirs = {each for each in used if each.startswith("djinnload_")}
            assert used - theirs <= names, path


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_is_whole(package):
    assert (package / "pyproject.toml").is_file()
    assert (package / "README.md").is_file()
    assert list((package / "tests").glob("test_*.py"))


def test_a_plugin_that_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(registry.metadata, "entry_points", lambda **_: [])
    workloads = ((registry.WORKLOADS, name) for name in ("agents", "digits"))
    for group, name in (*workloads, (registry.ARRIVALS, "diurnal")):
        with pytest.raises(UnknownName, match=f"pip install djinnload-{name}"):
            registry.entry(group, name, path="$")
