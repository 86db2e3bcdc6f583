"""djinnload as a gate in pytest: the change that makes the server too slow is red.

    pytest examples/test_gate.py

A run that cannot be trusted is skipped, with the reasons: it says nothing about the
server, in either direction.
"""

from pathlib import Path

import pytest

import djinnload

GATE = """
[scenario]
name = "gate"
duration = "4s"
warmup = "500ms"

[target.server]
policy = "qos"
slots = 2

[[population]]
name = "chat"
qos_class = "interactive"
deadline = "1s"
arrival = { process = "poisson", rate = "20/s" }
workload = { use = "llm", model = "gpt2-tiny", new_tokens = 4 }
objectives = ["p90(latency) <= 1s", "error_rate <= 10%"]
"""


def test_the_server_keeps_its_promise(tmp_path: Path) -> None:
    """Each objective is met, and every answer that was checked is right."""
    scenario = tmp_path / "gate.toml"
    scenario.write_text(GATE)
    result = djinnload.run_sync(scenario, out=tmp_path)
    if result.exit_code == 4:
        pytest.skip("; ".join(each["code"] for each in result.verdict["reasons"]))
    assert result.exit_code == 0, result.verdict["reasons"]
    samples = result.samples()
    assert not set(samples["outcome"].to_pylist()) - {"ok", "cancelled"}
