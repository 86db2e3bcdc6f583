"""Decisions of one cell are taken from its summary, and are the same."""

import msgspec
import pytest

from djinnload.summary import numbers as summarize
from djinnload.summary import run as run_summary
from health_kit import population  # tests/, by conftest.py

TEXTS = ["p99(latency) <= 1s", "mean(latency) <= 20ms", "p50(latency) <= 1ms"]


@pytest.mark.parametrize("bad", [0, 3, 1])
def test_decisions_read_back_from_a_summary_are_those_of_its_samples(bad):
    def failed(outcome, rng):
        if bad:
            outcome[::bad] = "error"
        return outcome

    samples, plan = population(1, outcome=failed), {"objectives": TEXTS}
    expected = summarize.decisions(plan, [samples])
    found = {"populations": {"chat": {"objectives": msgspec.to_builtins(expected)}}}
    cell = run_summary.Cell({}, "done", summary=summarize.finite(found))
    assert run_summary._decided([cell], "chat", [samples]) == expected
    assert any(each.value == float("inf") for each in expected) is bool(bad)
