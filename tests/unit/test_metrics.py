"""What a run's metrics say: names, labels, counters that only grow, and times."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parsed
from prometheus_client.parser import text_string_to_metric_families as parsed_text

from djinnload.cli import invoke
from djinnload.recording.live import BOUNDS_NS, LiveCounts, summed
from djinnload.report import metrics
from djinnload.report.metrics import Exposition
from djinnload.result import Progress
from djinnload.sample import OUTCOMES
from djinnload.spi import Outcome

MS = 1_000_000
WHO = {"population": "chat", "qos_class": "realtime", "arm": "qos", "point": "x=1"}


def counted(latency_ms, lateness_ns=(), outcomes=None, measured=None):
    """Live counts of requests that took so long."""
    n = len(latency_ms)
    found = outcomes or [Outcome.OK] * n
    counts = LiveCounts()
    counts.add(
        np.array([True] * n if measured is None else measured, np.bool_),
        np.array([OUTCOMES.index(each) for each in found], np.int32),
        np.array(latency_ms, np.int64) * MS,
        np.array(lateness_ns or [0] * n, np.int64),
        (np.full(n, 10), np.full(n, 100)),
    )
    return counts.read()


def progress(live, cell="x=1/qos/r00", sessions=0, **more):
    return Progress(
        "",
        cell,
        phase=more.pop("phase", "measure"),
        populations={"chat": live},
        qos_classes={"chat": "realtime"},
        sessions={"chat": sessions},
        **more,
    )


def scraped(*told):
    """Samples, by name and labels, as an OpenMetrics parser reads them."""
    exposition, registry = Exposition(), CollectorRegistry()
    registry.register(exposition)
    for each in told:
        exposition.take(each)
    plain = generate_latest(registry).decode()
    assert list(parsed_text(plain))
    families = parsed(io.StringIO(openmetrics.generate_latest(registry).decode()))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def one(found, name, **labels):
    return found[f"djinnload_{name}", frozenset(labels.items())]


def test_outcomes_sessions_and_bytes_are_counted_apart():
    live = counted([1, 2, 3], outcomes=[Outcome.OK, Outcome.REFUSED, Outcome.OK])
    found = scraped(progress(live, sessions=3, in_flight=7, all_cells=4))
    assert one(found, "requests_total", outcome="ok", **WHO) == 2
    assert one(found, "requests_total", outcome="refused", **WHO) == 1
    assert one(found, "sessions_started_total", **WHO) == 3
    assert one(found, "sent_bytes_total", **WHO) == 30
    assert one(found, "received_bytes_total", **WHO) == 300
    assert one(found, "requests_in_flight") == 7
    assert one(found, "cells") == 4


def test_what_warms_up_or_was_never_sent_is_in_no_total():
    live = counted([1, 5], [1000, -1], measured=[True, True])
    warm = counted([1, 5], measured=[False, False])
    found = scraped(progress(live))
    assert one(found, "request_lateness_seconds_count", **WHO) == 1
    assert one(found, "request_latency_seconds_count", **WHO) == 2
    assert warm.totals.outcomes == {}
    assert one(scraped(progress(warm)), "sent_bytes_total", **WHO) == 0


def test_latency_is_in_seconds_and_a_bucket_holds_its_upper_end():
    found = scraped(progress(counted([1, 10, 11, 60_000])))
    assert one(found, "request_latency_seconds_bucket", le="0.001", **WHO) == 1
    assert one(found, "request_latency_seconds_bucket", le="0.01", **WHO) == 2
    assert one(found, "request_latency_seconds_bucket", le="50.0", **WHO) == 3
    assert one(found, "request_latency_seconds_bucket", le="+Inf", **WHO) == 4
    assert one(found, "request_latency_seconds_sum", **WHO) == pytest.approx(60.022)


def test_counters_go_on_from_cell_to_cell_and_a_cell_counts_once():
    first, second = counted([1, 2]), counted([3])
    before = progress(first, sessions=2)
    check = Progress("checking answers", "x=1/qos/r00", phase="check")
    after = progress(second, "x=1/qos/r01", sessions=1)
    found = scraped(before, before, check, after, check)
    assert one(found, "requests_total", outcome="ok", **WHO) == 3
    assert one(found, "sessions_started_total", **WHO) == 3
    assert one(found, "request_latency_seconds_count", **WHO) == 3


def test_a_calibration_is_in_no_counter():
    calibrating = progress(counted([1]), "calibration/start-mix", phase="calibrate")
    found = scraped(calibrating, progress(counted([2, 3])))
    assert one(found, "requests_total", outcome="ok", **WHO) == 2
    assert not any("calibration" in dict(labels).values() for _, labels in found)


def test_readings_are_gauges_in_base_units():
    readings = {
        "/loop_lag_ns": 34_000.0, "w1/cpu_ns": 2.5e9, "/cpu_share": 0.25,
        "gpu0/util": 0.9, "gpu0/memory_bytes": 2.0**31, "gpu1/sm_clock_mhz": 1980.0,
        "gpu0/memory_bytes_of_77": 5.0, "/fragmentation": 0.1,
    }  # fmt: skip
    found = scraped(replace(progress(counted([1])), readings=readings))
    lag = one(found, "generator_loop_lag_seconds", worker="")
    assert lag == pytest.approx(34e-6)
    assert one(found, "generator_cpu_seconds_total", worker="w1") == 2.5
    assert one(found, "gpu_utilization_ratio", gpu="gpu0") == 0.9
    assert one(found, "gpu_memory_used_bytes", gpu="gpu0") == 2**31
    assert one(found, "gpu_sm_clock_hertz", gpu="gpu1") == pytest.approx(1.98e9)
    assert not any("77" in name or "frag" in name for name, _ in found)


@given(st.lists(st.lists(st.integers(0, 10**5), max_size=8), min_size=1, max_size=4))
def test_what_workers_count_together_is_what_one_would(parts):
    def totals(values):
        return counted(values).totals

    every = totals([value for part in parts for value in part])
    assert summed([totals(part) for part in parts]) == every
    if every.outcomes:
        assert sum(every.latency.counts) == every.outcomes["ok"]


def test_buckets_are_a_decade_of_three():
    assert BOUNDS_NS[:4] == (10_000, 25_000, 50_000, 100_000)
    assert BOUNDS_NS[-1] == 50 * 10**9


@pytest.mark.parametrize("given", ["here", "127.0.0.1", "80x", "70000", ":", "-1"])
def test_an_address_that_is_none_is_refused(given, capsys):
    assert invoke(["run", "quick", "--metrics", given]) == 2
    said = capsys.readouterr().err
    assert "no [HOST:]PORT, such as 9464" in said


def test_without_the_package_it_says_what_to_install(monkeypatch, capsys):
    from djinnload.report import endpoint

    monkeypatch.setattr(endpoint, "find_spec", lambda _: None)
    assert invoke(["run", "quick", "--metrics", "0"]) == 2
    assert "pip install 'djinnload[metrics]'" in capsys.readouterr().err


def test_the_document_names_every_metric_and_no_other():
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text("utf-8")
    documented = set(re.findall(r"`(djinnload_\w+)`", text))
    readings = dict.fromkeys(
        ["/loop_lag_ns", "/gc_pause_ns", "/cpu_share", "/load1", "/cpu_ns"], 1.0
    ) | {f"gpu0/{name}": 1.0 for name in metrics._GPU}
    live = counted([1])
    exposition = Exposition()
    exposition.take(replace(progress(live), readings=readings, left_s=1.0))
    suffixes = {"counter": "_total", "info": "_info"}
    found = {
        family.name + suffixes.get(family.type, "") for family in exposition.collect()
    }
    assert found == documented
