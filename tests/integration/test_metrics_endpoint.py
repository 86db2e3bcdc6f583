"""A real run scraped over HTTP while it goes on, by its own library and by no other."""

import io
import re
import socket
import time
import urllib.request
from collections import Counter
from itertools import pairwise

import pytest
from prometheus_client.openmetrics.parser import text_fd_to_metric_families

from command_kit import (
    ACCEPT_NOISE,
    ECHO,
    document,
    results,
    run_command,
    started,
    until,
)
from djinnload.reading.files import read_samples

TEXT = ECHO.replace('duration = "1s"', 'duration = "1s"\nrepeats = 2')
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(url):
    request = urllib.request.Request(url, headers={"Accept": OPENMETRICS})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = answer.read().decode()
    families = text_fd_to_metric_families(io.StringIO(text))
    return [sample for family in families for sample in family.samples]


def counters(samples):
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for each in samples
        if each.name.endswith(("_total", "_count", "_sum", "_bucket"))
    }


@pytest.mark.wallclock
@pytest.mark.parametrize("workers", [1, 2])
def test_scrapes_of_a_run_end_where_its_samples_do(tmp_path, workers):
    (tmp_path / "s.toml").write_text(TEXT)
    asked = ("--metrics", "0", "--progress", "none", "--workers", workers)
    seen = []
    with started("run", "s.toml", *asked, *ACCEPT_NOISE, cwd=tmp_path) as process:
        at = re.compile(r"^metrics: (http://127\.0\.0\.1:\d+/metrics)$", re.MULTILINE)
        until(lambda: at.search((tmp_path / "err").read_text()))
        url = at.search((tmp_path / "err").read_text()).group(1)
        while True:
            try:
                seen.append(scrape(url))
            except OSError:
                break  # the run is over
            time.sleep(0.02)
        assert process.wait(60) in {0, 4}, (tmp_path / "err").read_text()
    for before, after in pairwise(seen):
        then, now = counters(before), counters(after)
        gone = {key for key in then if key not in now and "cpu" not in key[0]}
        assert not gone
        assert all(now[key] >= then[key] for key in then.keys() & now.keys())
    run = results(tmp_path / "results")
    rows = [
        row
        for cell in document(run / "index.json")["cells"]
        for row in read_samples(run / cell["path"]).to_pylist()
        if row["phase"] == "measure"
    ]
    who = {
        "population": "chat", "qos_class": "interactive", "arm": "default",
        "point": "all",
    }  # fmt: skip
    last = counters(seen[-1])

    def one(name, **labels):
        return last[f"djinnload_{name}", frozenset((who | labels).items())]

    for outcome, n in Counter(row["outcome"] for row in rows).items():
        assert one("requests_total", outcome=outcome) == n
    assert one("sent_bytes_total") == sum(row["bytes_sent"] for row in rows)
    assert one("received_bytes_total") == sum(row["bytes_received"] for row in rows)
    assert one("sessions_started_total") == len(
        {(row["repeat"], row["session"], row["user"]) for row in rows}
    )
    latencies = [r["done_ns"] - r["due_ns"] for r in rows if r["outcome"] == "ok"]
    assert one("request_latency_seconds_sum") == pytest.approx(sum(latencies) / 1e9)
    within = sum(each <= 2_500_000 for each in latencies)
    assert one("request_latency_seconds_bucket", le="0.0025") == within
    late = [r["sent_ns"] - r["ready_ns"] for r in rows if r["sent_ns"] is not None]
    assert one("request_lateness_seconds_sum") == pytest.approx(sum(late) / 1e9)
    shown = {(each.name, each.labels.get("phase")) for found in seen for each in found}
    assert ("djinnload_run_info", "measure") in shown
    names = {name for name, _ in shown}
    assert "djinnload_generator_loop_lag_seconds" in names
    assert "djinnload_generator_cpu_seconds_total" in names


def test_a_port_that_is_taken_is_said_before_anything_is_opened(tmp_path):
    (tmp_path / "s.toml").write_text(ECHO)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_command("run", "s.toml", "--metrics", port, cwd=tmp_path)
    assert done.returncode == 3
    assert f"cannot serve metrics at 127.0.0.1:{port}: Address already in use" in (
        done.stderr
    )
    assert "name another port" in done.stderr
    assert not (tmp_path / "results").exists()
