"""What others import and call: names, versions, what stays unloaded, what ships."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import djinnload
from djinnload import cli
from djinnload.scenarios.load import shipped

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("matplotlib", "numpy", "pyarrow", "scipy", "torch", "transformers")


def modules():
    """Every module of the package that says what it exports."""
    found = pkgutil.walk_packages(djinnload.__path__, "djinnload.")
    names = [each.name for each in found if not each.name.endswith("__main__")]
    loaded = [djinnload, *map(importlib.import_module, names)]
    return [module for module in loaded if hasattr(module, "__all__")]


def as_ruff_sorts(names):
    """CONSTANTS, then Classes, then the rest (RUF022)."""

    def key(name):
        constant = name.isupper() and len(name) > 1
        return (0 if constant else 1 if name[0].isupper() else 2, name)

    return sorted(names, key=key)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_all_is_a_sorted_tuple_of_what_there_is(module):
    names = module.__all__
    assert isinstance(names, tuple)
    assert list(names) == as_ruff_sorts(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


def test_the_package_lists_what_it_has():
    assert dir(djinnload) == sorted(djinnload.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = djinnload.nothing


@pytest.mark.parametrize("name", ["djinnload.spi", "djinnload.testing"])
def test_what_plugin_authors_import_exports_all_that_is_public(name):
    module = importlib.import_module(name)
    own = [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    ]
    assert [key for key in own if key not in module.__all__] == []


def loaded_by(code):
    """Top-level packages that a fresh process has loaded after *code*."""
    tail = (
        "import json, sys; print(json.dumps([n for n in sys.modules if '.' not in n]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import djinnload",
        "from djinnload.cli import invoke; assert invoke(['--help']) == 0",
        "from djinnload.cli import invoke; assert invoke(['run', '--help']) == 0",
        "import djinnload.spi",
    ],
)
def test_nothing_heavy_is_loaded(code):
    assert loaded_by(code).isdisjoint(HEAVY)


def test_the_installed_command_helps():
    command = Path(sys.executable).with_name("djinnload")
    ran = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    verbs = re.findall(r"^  ([a-z][\w-]+)  ", ran.stdout, re.MULTILINE)
    assert verbs == list(cli.command.commands)


def test_the_version_is_the_package_s():
    assert djinnload.__version__ == metadata.version("djinnload")


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.toml")), ids=str)
def test_a_shipped_scenario_passes_check(path, capsys):
    assert cli.invoke(["check", str(path), "--json", "--yes-long"]) == 0
    assert json.loads(capsys.readouterr().out)["scenario"] == path.stem
    assert path.stem in shipped()
