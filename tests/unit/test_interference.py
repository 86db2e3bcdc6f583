"""The interference matrix: a class alone against the same class in company."""

import pytest

import policy_kit as kit  # tests/, by conftest.py
from djinnload.reading.files import read_json, write_json
from djinnload.summary.fold import fold_run

COMPANY = {
    "company=realtime": ("realtime",),
    "company=interactive": ("interactive",),
    "company=realtime+batch": ("realtime", "batch"),
    "company=all": ("realtime", "interactive", "batch"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("company")
    return out, kit.company(out, COMPANY)


def row(summary, arm, population, *beside, metric="mean(latency)"):
    (found,) = (
        each
        for each in summary["interference"]
        if (each["arm"], each["population"], each["metric"])
        == (arm, population, metric)
        and each["beside"] == list(beside)
    )
    return found


def test_batch_slows_realtime_under_fcfs_and_less_under_qos(run):
    _, summary = run
    found = {arm: row(summary, arm, "realtime", "batch") for arm in ("qos", "fcfs")}
    for each in found.values():
        assert (each["status"], each["n"]) == ("ok", 5)
        assert (each["point"], each["alone"]) == (
            "company=realtime+batch", "company=realtime"
        )  # fmt: skip
        assert each["ratio"] == pytest.approx(each["a"] / each["b"])
        assert each["ci95"][0] < each["ratio"] < each["ci95"][1]
    assert found["qos"]["ci95"][1] < found["fcfs"]["ci95"][0]
    assert found["fcfs"]["ci95"][0] > 1.2
    everybody = row(summary, "fcfs", "realtime", "interactive", "batch")
    assert everybody["ratio"] > found["fcfs"]["ratio"]


def test_only_who_was_alone_somewhere_has_a_row(run):
    rows = {
        (each["population"], tuple(each["beside"])) for each in run[1]["interference"]
    }
    assert rows == {
        ("realtime", ("batch",)),
        ("realtime", ("interactive", "batch")),
        ("interactive", ("realtime", "batch")),
    }


def test_a_run_without_company_has_no_matrix(tmp_path):
    assert kit.run(tmp_path, repeats=1, seconds=1)["interference"] == []


def test_a_void_cell_voids_the_rows_that_stand_on_it(run, tmp_path):
    out, _ = run
    path = out / "cells/company=realtime/qos/r00/manifest.json"
    whole = read_json(path)
    try:
        write_json(path, whole | {"dropped": 3})
        summary = fold_run(out)
    finally:
        write_json(path, whole)
    found = row(summary, "qos", "realtime", "batch")
    assert found["status"] == "void"
    assert found["reasons"] == ["DROPPED in company=realtime/qos/r00"]
    assert row(summary, "fcfs", "realtime", "batch")["status"] == "ok"
