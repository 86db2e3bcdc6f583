"""What happened around a cell: lost servers, a host that slept, a date that was set."""

import pytest

from djinnload import shard
from djinnload.health import surroundings
from djinnload.health.cell import judge_cell, not_applicable
from djinnload.shard import Shard
from djinnload.units import MS, SECOND
from health_kit import BEGIN, cell, codes, population  # tests/, by conftest.py

LOST = [{"from_ns": BEGIN + 2 * SECOND, "to_ns": BEGIN + 4 * SECOND}]


def of(**manifest):
    return cell(population(1), **manifest)


def test_a_lost_server_voids_unless_the_run_shall_go_on():
    (finding,) = judge_cell(of(gaps=LOST, on_server_loss="void"))
    assert (finding.code, finding.void, finding.value) == ("SERVER_LOST", True, 1)
    assert "s since measure began: 2.0 to 4.0; look at" in finding.message
    for policy in ("wait", "go_on"):
        (finding,) = judge_cell(of(gaps=LOST, on_server_loss=policy))
        assert (finding.code, finding.void) == ("server-lost", False)
        assert f'on_server_loss is "{policy}"' in finding.message
    assert judge_cell(of(gaps=LOST), accepted=["SERVER_LOST"])[0].accepted
    assert judge_cell(of(gaps=[], on_server_loss="void")) == ()


def test_a_gap_that_did_not_end_marks_every_window_after_it():
    gaps = surroundings.gaps({
        "window": {"begin_ns": BEGIN},
        "gaps": [*LOST, {"from_ns": BEGIN + 8 * SECOND, "to_ns": None}],
    })  # fmt: skip
    assert gaps == [{"from_s": 2, "to_s": 4}, {"from_s": 8, "to_s": None}]
    windows = [{"at_s": float(at), "seconds": 1.0} for at in range(10)]
    surroundings.mark_lost(windows, gaps)
    assert [each["at_s"] for each in windows if each.get("lost")] == [2, 3, 8, 9]


@pytest.mark.parametrize(
    ("slept", "stepped", "found"),
    [
        (0, 0, []),
        (99 * MS, 0, []),
        (101 * MS, 0, ["SUSPENDED"]),
        (0, 101 * MS, ["clock-step"]),
        (0, -3600 * SECOND, ["clock-step"]),
        (3600 * SECOND, 3600 * SECOND, ["SUSPENDED", "clock-step"]),
    ],
)
def test_a_host_that_slept_voids_and_a_date_that_was_set_is_only_said(
    slept, stepped, found
):
    evidence = of()
    evidence.manifest["window"] |= {"suspended_ns": slept, "stepped_ns": stepped}
    told = judge_cell(evidence)
    assert [each.code for each in told] == found
    assert codes(told) == [code for code in found if code.isupper()]
    assert "SUSPENDED" not in not_applicable(evidence)


class Clocks:
    """A host whose date can be set, and that can sleep: its monotonic clock stops."""

    def __init__(self, monkeypatch):
        self.monotonic, self.slept, self.date = 10**9, 0, 1_700_000_000 * SECOND
        monkeypatch.setattr(shard, "monotonic_ns", lambda: self.monotonic)
        monkeypatch.setattr(shard, "boottime_ns", lambda: self.monotonic + self.slept)
        monkeypatch.setattr(
            shard, "wall_ns", lambda: self.date + self.monotonic + self.slept
        )


class Plan:
    grace_ns, warmup_sessions = SECOND, 0
    populations = ()

    class schedule:  # noqa: N801 - stands for an attribute
        warmup_ns, duration_ns, sessions = SECOND, 10 * SECOND, 0


def ended(clocks, tmp_path, during):
    manifest = {"proof": {}}
    begin = shard.announce(Plan, tmp_path, manifest, 50 * MS)
    assert begin == clocks.monotonic + 50 * MS + SECOND
    clocks.monotonic += 12 * SECOND
    during()
    end = begin + 10 * SECOND
    done = Shard(
        worker=0,
        finished_ns=end,
        ended_ns=end,
        polled_ns=0,
        sessions={},
        echoes=[],
        alive=True,
        fault=None,
    )
    return shard.conclude(Plan, tmp_path, manifest, [done], interrupted=False)


@pytest.mark.parametrize("step", [-(10**16), -SECOND, 3600 * SECOND])
def test_a_stepped_date_changes_no_time_of_a_run(tmp_path, monkeypatch, step):
    clocks = Clocks(monkeypatch)
    plain = ended(clocks, tmp_path, lambda: None)["window"]
    assert plain["stepped_ns"] == plain["suspended_ns"] == 0

    def set_date():
        clocks.date += step

    clocks.monotonic = 10**9
    window = ended(clocks, tmp_path, set_date)["window"]
    assert window.pop("stepped_ns") == step
    assert window == {k: v for k, v in plain.items() if k != "stepped_ns"}


def test_a_host_that_slept_is_told_from_a_date_that_was_set(tmp_path, monkeypatch):
    clocks = Clocks(monkeypatch)

    def sleep():
        clocks.slept += 5 * SECOND

    made = ended(clocks, tmp_path, sleep)
    assert made["window"]["suspended_ns"] == 5 * SECOND
    assert made["window"]["stepped_ns"] == 0
    evidence = of()
    evidence.manifest["window"] |= made["window"] | {
        k: evidence.manifest["window"][k] for k in ("begin_ns", "end_ns")
    }
    assert codes(judge_cell(evidence)) == ["SUSPENDED"]
