"""A real network namespace: its rate, delay and loss, and that nothing of it is left."""

import signal
import subprocess
from pathlib import Path

import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    codes,
    document,
    results,
    run_command,
    started,
    until,
)
from djinnload.boots import network
from djinnload.recording.recorder import read_samples
from djinnload.scenarios.network import Network
from djinnload.units import MS

CELL = "cells/all/default/r00"
RATE = network.refusal(Network(rate=1e9))
NETEM = network.refusal(Network(rate=1e9, delay=MS))
shaped = pytest.mark.skipif(bool(RATE), reason=RATE)
delayed = pytest.mark.skipif(bool(NETEM), reason=NETEM)
#: A payload of 250 kB takes 20 ms each way at 100 Mbit/s.
ONE = """
[[population]]
name = "chat"
users = 1
workload = { use = "echo", payload = "250kB" }
"""


def scenario(tmp_path, asked, more=""):
    head = ECHO.partition("[[population]]")[0]
    text = f"{head}[target]\nnetwork = {asked}\n{more}{ONE}"
    (tmp_path / "s.toml").write_text(text)
    return tmp_path


def namespaces():
    found = Path("/run/netns").glob("djinnload-*")
    return {path.name for path in found}


def interfaces():
    return {path.name for path in Path("/sys/class/net").glob("djl*")}


def run(tmp_path):
    before = namespaces(), interfaces()
    done = run_command("run", "s.toml", "--out", "out", *ACCEPT_NOISE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (namespaces(), interfaces()) <= before
    found = results(tmp_path / "out")
    assert codes(found) == set()
    return found


def services_ms(path):
    rows = [r for r in read_samples(path / CELL).to_pylist() if r["outcome"] == "ok"]
    return sorted((r["done_ns"] - r["sent_ns"]) / MS for r in rows)


@shaped
@pytest.mark.wallclock
def test_a_rate_is_kept_each_way_and_told(tmp_path):
    found = run(scenario(tmp_path, '{ rate = "100Mbit/s" }'))
    took = services_ms(found)
    # What is let through at once, and nothing else, is faster than the rate.
    assert took[0] > 2 * (250_000 - 10_000) * 8 / 100e6 * 1000
    manifest = document(found / CELL / "manifest.json")
    set_ = manifest["network"]
    assert set_["rate_bytes_per_s"] == 12.5e6
    assert "tbf" in set_["qdisc"]["sent"]
    assert "rate 100Mbit" in set_["qdisc"]["received"]
    assert set_["rtt_us"]["n"] == 21
    assert 0 < set_["rtt_us"]["min"] <= set_["rtt_us"]["median"]
    evidence = manifest["proof"]["evidence"]["network.rate"]
    assert evidence == {"how": "launched", "value": 12.5e6}
    assert manifest["proof"]["address"].startswith(("198.18.", "198.19."))
    told = document(found / "summary.json")["verdict"]["findings"]
    (finding,) = (each for each in told if each["code"] == "network")
    assert "0.1 Gbit/s, each way, by the kernel (qdisc tbf" in finding["message"]
    assert "0.1 Gbit/s" in (found / "report.html").read_text()


@delayed
@pytest.mark.wallclock
def test_a_delay_is_kept_each_way(tmp_path):
    found = run(scenario(tmp_path, '{ delay = "20ms" }'))
    # One connection a request: a round trip to make it, another to be answered.
    assert services_ms(found)[0] > 80
    set_ = document(found / CELL / "manifest.json")["network"]
    assert set_["rtt_us"]["min"] > 40_000
    assert "delay 20ms" in set_["qdisc"]["received"]


@delayed
@pytest.mark.wallclock
def test_packets_are_lost_one_by_one(tmp_path):
    found = run(scenario(tmp_path, '{ loss = "5%" }'))
    took = services_ms(found)
    # Of 170 packets some are lost and sent again; that takes TCP's patience.
    assert took[-1] > 20 * took[0]
    assert (
        "loss 5%"
        in document(found / CELL / "manifest.json")["network"]["qdisc"]["sent"]
    )


@shaped
@pytest.mark.wallclock
def test_a_command_s_server_lives_in_it(tmp_path):
    hook = """
[target.launch]
command = ["{python}", "-m", "djinnload", "serve", "--host", "{host}", "--port", "{port}"]
"""
    found = run(scenario(tmp_path, '{ rate = "1Gbit/s" }', hook))
    manifest = document(found / CELL / "manifest.json")
    assert manifest["network"]["address"] in manifest["proof"]["address"]
    scenario(tmp_path, '{ rate = "1Gbit/s" }', hook.replace("{host}", "127.0.0.1"))
    text = (tmp_path / "s.toml").read_text()
    (tmp_path / "s.toml").write_text(
        text.replace("command =", 'ready = "3s"\ncommand =')
    )
    done = run_command("run", "s.toml", "--out", "other", cwd=tmp_path)
    assert done.returncode == 3
    assert "it has to listen on {host}, or on 0.0.0.0" in done.stderr


@shaped
@pytest.mark.wallclock
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_a_run_that_is_stopped_is_left(tmp_path, number):
    scenario(tmp_path, '{ rate = "1Gbit/s" }')
    text = (tmp_path / "s.toml").read_text().replace('"1s"', '"60s"')
    (tmp_path / "s.toml").write_text(text)
    before = namespaces()
    with started("run", "s.toml", "--out", "out", cwd=tmp_path) as process:
        until(lambda: any(tmp_path.glob(f"out/*/*/{CELL}/samples/*")))
        assert len(namespaces() - before) == 1
        process.send_signal(number)
        code = process.wait(timeout=30)
    if number == signal.SIGTERM:
        assert code == 130
    else:
        # Nobody could clean up then; the next does.
        assert len(namespaces() - before) == 1
        (left,) = namespaces() - before
        assert left in network.swept()
    assert namespaces() <= before
    assert f"djl{process.pid}x0" not in interfaces()


def test_check_refuses_without_the_tools(tmp_path, monkeypatch):
    scenario(tmp_path, '{ rate = "1Gbit/s" }')
    monkeypatch.setenv("PATH", str(tmp_path))
    for verb in ("check", "run"):
        done = run_command(verb, "s.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert "$.target.network: needs ip, tc, nsenter on PATH" in done.stderr
    done = run_command("doctor", "s.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs ip, tc, nsenter on PATH" in " ".join(done.stdout.split())
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(not NETEM or bool(RATE), reason="this kernel has netem, or no tbf")
def test_check_refuses_what_this_kernel_lacks(tmp_path):
    scenario(tmp_path, '{ delay = "1ms" }')
    done = run_command("check", "s.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "delay and loss need a kernel with sch_netem" in done.stderr


@shaped
def test_processes_of_a_namespace_see_nothing_else(tmp_path):
    with network._linked(Network(rate=1e9)) as link:
        words = link.entered(("ip", "-o", "-4", "address"))
        seen = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert {line.split()[1] for line in seen.splitlines()} == {"lo", "server"}
        assert f" {link.address}/30" in seen
        refused = network._call("ip", "-o", "-4", "address")
        assert f" {link.host}/30" in refused
    assert link.namespace not in namespaces()
