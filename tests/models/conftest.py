import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory):
    """Weights of a test run are made in a directory of its own."""
    before = os.environ.get("DJINNLOAD_CACHE")
    os.environ["DJINNLOAD_CACHE"] = str(tmp_path_factory.mktemp("weights"))
    yield
    if before is None:
        del os.environ["DJINNLOAD_CACHE"]
    else:
        os.environ["DJINNLOAD_CACHE"] = before
