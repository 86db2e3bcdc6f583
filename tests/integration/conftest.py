"""What integration tests share; makes `server_kit` and `misbehaving` importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from server_kit import LOOP


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request, monkeypatch) -> None:
    """Run the test on both loops; without it, on uvloop."""
    monkeypatch.setitem(LOOP, "use_uvloop", request.param == "uvloop")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A small model, its weights in a directory of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJINNLOAD_CACHE", str(tmp_path_factory.mktemp("weights")))
        from djinnload.models import catalog

        yield catalog.parse_id("djinnload:gpt2-tiny?seed=5&dtype=float32")
