"""The rules on a load that several processes made: the worst of them is judged."""

import numpy as np
import pyarrow as pa
import pytest

import health_kit as kit  # tests/, by conftest.py
from djinnload.health import generator as health_generator
from djinnload.health import load as health_load
from djinnload.health.cell import CellEvidence, judge_cell
from djinnload.summary.fold import generator
from djinnload.units import MS

PROBES = ("t_ns", "source", "device", "name", "value")


def of_worker(k, table):
    """Those probes as worker *k* writes them."""
    rows = table.drop_columns("device").append_column(
        "device", pa.array([f"w{k}"] * table.num_rows)
    )
    return rows.select(PROBES)


def evidence(*workers, population=None, flights=None):
    """A cell of as many workers as there are tables of probes."""
    population = population or kit.population(1)
    alone = kit.cell(population, probe=workers[0])
    tables = [of_worker(k, table) for k, table in enumerate(workers)]
    manifest = {
        **alone.manifest,
        "workers": [{"worker": k} for k in range(len(tables))],
    }
    return CellEvidence(alone.populations, pa.concat_tables(tables), manifest)


def codes(found):
    return {each.code for each in judge_cell(found) if each.void}


def test_healthy_workers_are_no_worse_than_one():
    found = evidence(kit.probes(1), kit.probes(2), kit.probes(3))
    assert found.workers == ("w0", "w1", "w2")
    assert not codes(found) & {"CPU", "LOOP_STALL"}


def test_cpu_is_that_of_the_busiest_worker():
    # 0.5 + 0.45 of a core are over 80 % together, neither is alone.
    assert "CPU" not in codes(evidence(kit.probes(1, cpu=0.5), kit.probes(2, cpu=0.45)))
    found = evidence(kit.probes(1, cpu=0.2), kit.probes(2, cpu=0.9))
    (said,) = (each for each in judge_cell(found) if each.code == "CPU")
    assert said.void
    assert "worker 1 used 90% of its core" in said.message
    assert "--workers" in said.message
    shares = health_generator.cpu_shares(found)
    assert shares == pytest.approx({"w0": 0.2, "w1": 0.9}, abs=0.01)


def test_polling_is_no_work_in_any_worker():
    found = evidence(kit.probes(1, cpu=0.3, polled=0.6), kit.probes(2, cpu=0.3))
    assert "CPU" not in codes(found)


def test_the_loop_that_lagged_most_is_judged_and_named():
    # 2 % of the time of one of four loops is 0.5 % of that of all.
    stalled = kit.probes(2, stall=(300, 40, 4.0))
    found = evidence(kit.probes(1), stalled, kit.probes(3), kit.probes(4))
    (said,) = (each for each in judge_cell(found) if each.code == "LOOP_STALL")
    assert said.void
    assert said.message.startswith("worker 1's loop lagged over 1 ms for 2%")


def test_a_long_pause_names_its_worker():
    found = evidence(kit.probes(1), kit.probes(2, gc_ms=40))
    (said,) = health_generator.loop_stall(found)
    assert not said.void
    assert "garbage collection of 40 ms" in said.message
    assert "in worker 1 may have hit" in said.message


def dealt(seed, n):
    """A population, and what each of n workers counts of it, its part dealt out."""
    whole = kit.population(seed, rate=400.0, service_ms=2.0)
    order = np.argsort(whole.requests.due_ns)
    for k in range(n):
        whole.requests.worker[order[k::n]] = k
    parts = [kit.renamed(whole, kept=order[k::n]) for k in range(n)]
    seen = [kit.flights(seed * n + k, part) for k, part in enumerate(parts)]
    return whole, [kit.probes(k, seen=each) for k, each in enumerate(seen)]


@pytest.mark.parametrize("seed", range(10))
def test_littles_law_holds_over_all_workers_together(seed):
    whole, counted = dealt(seed, 3)
    found = evidence(*counted, population=whole)
    together, error, n, expected = health_load.in_flight(found)
    assert abs(together - expected) <= 5 * error  # alpha 6e-7 a seed
    assert n > 1000
    assert error < 0.2 * expected
    assert "LITTLE" not in codes(found)


@pytest.mark.parametrize("seed", range(10))
def test_a_worker_whose_rows_are_lost_breaks_littles_law(seed):
    whole, counted = dealt(seed, 3)
    order = np.argsort(whole.requests.due_ns)
    kept = np.setdiff1d(order, order[1::3])
    left = kit.renamed(whole, kept=np.sort(kept))
    assert "LITTLE" in codes(evidence(*counted, population=left))


@pytest.mark.parametrize("seed", range(10))
def test_instants_past_a_stall_of_their_own_worker_stand(seed):
    """Both wait for the loop, which then sends all that fell due meanwhile."""
    rng = np.random.default_rng(seed)
    whole = kit.population(seed, rate=400.0, capacity=100)
    r = whole.requests
    r.worker[:] = np.arange(len(r.due_ns)) % 2
    counted = []
    for k in range(2):
        mine = r.worker == k
        took = r.done_ns[mine] - r.sent_ns[mine]
        stalls = np.sort(rng.uniform(kit.BEGIN, kit.END, 50))
        r.sent_ns[mine] = after_stalls(r.sent_ns[mine], stalls)
        r.done_ns[mine] = r.sent_ns[mine] + took
        at = np.sort(rng.uniform(kit.BEGIN, kit.END - 50 * MS, 500))
        # A little later than the sends of that burst.
        at = after_stalls(at, stalls) + 1
        sent, done = np.sort(r.sent_ns[mine]), np.sort(r.done_ns[mine])
        seen = np.searchsorted(sent, at, "right") - np.searchsorted(done, at, "right")
        counted.append(kit.probes(k, seen=(at.astype(np.int64), seen)))
    found = evidence(*counted, population=kit.renamed(whole))
    together, _, _, expected = health_load.in_flight(found)
    assert together == pytest.approx(expected, rel=0.05)
    assert "LITTLE" not in codes(found)


def after_stalls(at, begins, lasts=40 * MS):
    """The same times, those within a stall moved to its end."""
    stall = np.searchsorted(begins, at) - 1
    inside = (stall >= 0) & (at < begins[stall] + lasts)
    return np.where(inside, np.ceil(begins[stall] + lasts), at)


def test_the_summary_tells_of_each_worker_and_of_the_worst():
    found = generator(evidence(kit.probes(1, cpu=0.2), kit.probes(2, cpu=0.6)))
    assert found["cpu"] == pytest.approx(0.6, abs=0.01)
    assert [each["worker"] for each in found["workers"]] == ["w0", "w1"]
    assert found["loop_lag_us"]["n"] == sum(
        each["loop_lag_us"]["n"] for each in found["workers"]
    )
    assert "workers" not in generator(kit.cell(kit.population(1), probe=kit.probes(1)))
