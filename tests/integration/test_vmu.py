"""The reference server's diagnostics, scraped by a run as Djinn's are."""

import http.client
import json
import socket
import subprocess
import sys
from contextlib import contextmanager

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    document,
    environment,
    results,
    run_command,
    until,
)
from djinnload.boots.hook import free_port
from djinnload.reading.files import read_probes

PROBED = """
probes = { nvml = "50ms", vmu = "100ms" }
"""


@contextmanager
def serving():
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "djinnload", "serve", "--port", "0"],
        env=environment() | {"GENIE_METRICS_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        yield port
    finally:
        process.kill()
        process.communicate()


def get(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_the_server_says_what_it_holds_and_survives_nonsense():
    with serving() as port:
        status, said = get(port, "/metrics/vmu")
        assert (status, said["status"]) == (200, "ok")
        assert said["vmu"]["models_loaded"] == said["vmu"]["active_sessions"] == 0
        assert said["vmu"]["data_capacity_bytes"] == 2**30
        assert get(port, "/healthz") == (200, {"status": "ok"})
        assert get(port, "/other")[0] == 404
        assert get(port, "/metrics/vmu", "POST")[0] == 400
        for nonsense in (b"\x00\r\n\r\n", b"x" * 100_000, b""):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as each:
                each.sendall(nonsense)
        until(lambda: get(port, "/healthz")[0] == 200)


def test_a_run_scrapes_the_server_that_it_started(tmp_path):
    (tmp_path / "s.toml").write_text(PROBED + ECHO)
    done = run_command("run", "s.toml", *ACCEPT_NOISE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    cell = results(tmp_path / "results") / "cells/all/default/r00"
    told = document(cell / "manifest.json")["probes"]
    assert told["vmu"].startswith("127.0.0.1:")
    rows = [r for r in read_probes(cell).to_pylist() if r["source"] == "vmu"]
    answered = [r["value"] for r in rows if r["name"] == "answered"]
    assert answered == [1] * len(answered)
    assert len(answered) >= 5
    assert {r["name"] for r in rows} >= {"text_used_bytes", "active_sessions"}
    if told["nvml"] is None:
        assert document(cell / "summary.json")["gpu"] is None
