"""Run directories without a server, for whatever reads them."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# For what tests share: health_kit.
sys.path.append(str(Path(__file__).parent))


def _maker():
    path = Path(__file__).with_name("make_synthetic.py")
    spec = importlib.util.spec_from_file_location("make_synthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_synthetic():
    """The module that makes them: `write_run`, `write_cell`."""
    return _maker()


@pytest.fixture(scope="session")
def _synthetic_run(tmp_path_factory, make_synthetic):
    return make_synthetic.write_run(tmp_path_factory.mktemp("synthetic") / "run")


@pytest.fixture
def synthetic_run(_synthetic_run, tmp_path):
    """A complete run directory, the test's own: 2 arms × 5 repeats × 3 populations."""
    return Path(shutil.copytree(_synthetic_run, tmp_path / "run"))


@pytest.fixture
def synthetic_cell(synthetic_run):
    """One of its cells: arm qos, repeat 0."""
    return synthetic_run / "cells" / "all" / "qos" / "r00"
