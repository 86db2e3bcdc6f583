"""The grammar of objectives, how they are decided, and what becomes of a run."""

import math
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from djinnload import objective
from djinnload.errors import ScenarioError
from djinnload.findings import Finding
from djinnload.objective import Judged, decide, exit_code, parse, run_verdict
from djinnload.stats.populations import PopulationSamples, Requests, Turns
from djinnload.summary.numbers import throughput
from djinnload.units import MS, SECOND


def samples(latency_ms, *, ok=None, deadline_ms=None, gap_ms=10.0, **turns):
    latency = np.asarray(latency_ms, float) * MS
    n = len(latency)
    due = (np.arange(n) * gap_ms * MS).astype(np.int64)
    empty = {name: np.full(n, np.nan) for name in Turns.__struct_fields__}
    known = {
        "due_ns": due,
        "done_ns": due + latency.astype(np.int64),
        "latency_ns": latency,
        "ok": np.ones(n, bool) if ok is None else np.asarray(ok),
    }
    return PopulationSamples(
        name="chat",
        loop="open",
        qos_class="realtime",
        deadline_ns=None if deadline_ms is None else int(deadline_ms * MS),
        window_ns=(0, int(max(1, n) * gap_ms * MS)),
        turns=Turns(**(empty | known | turns)),
        requests=Requests(**dict.fromkeys(Requests.__struct_fields__, np.empty(0))),
    )


def noise(n, seed=0, mean_ms=10.0, spread_ms=1.0):
    return np.random.default_rng(seed).normal(mean_ms, spread_ms, n)


@pytest.mark.parametrize(
    ("text", "stat", "metric", "bound", "tail"),
    [
        ("p95(latency) <= 80ms", "percentile", "latency", 80 * MS, 0.05),
        ("p99.9(ttft)<=1.5s", "percentile", "ttft", 1500 * MS, 0.001),
        ("p50 ( latency ) >= 1us", "percentile", "latency", 1000, 0.5),
        ("mean(queue) <= 5ms", "mean", "queue", 5 * MS, 0),
        ("max(latency) <= 1s", "max", "latency", SECOND, 0),
        ("miss_rate <= 10%", "rate", "miss_rate", 0.1, 0),
        ("error_rate <= 0.01", "rate", "error_rate", 0.01, 0),
        ("goodput >= 20/s", "rate", "goodput", 20, 0),
        ("throughput >= 90/min", "rate", "throughput", 1.5, 0),
        ("mean(bytes_sent) <= 64kB", "mean", "bytes_sent", 64_000, 0),
        ("gpu_util >= 50%", "rate", "gpu_util", 0.5, 0),
        ("mean(in_system) <= 8", "rate", "in_system", 8, 0),
    ],
)
def test_objectives_are_read(text, stat, metric, bound, tail):
    read = parse(text)
    assert (read.measure.stat, read.measure.metric) == (stat, metric)
    assert (read.bound, read.measure.tail) == (bound, tail)
    assert read.text == text


def test_a_step_is_read():
    read = parse("p95(request_latency[step=decode]) <= 80ms")
    assert read.measure.step == "decode"
    assert read.measure.text == "p95(request_latency[step=decode])"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("p95(latncy) <= 80ms", "did you mean 'latency'"),
        ("p95(latency)", "needs <= or >="),
        ("p95(latency) < 80ms", "needs <= or >="),
        ("p95(latency) <= 80", "p95(latency) is a time"),
        ("p95(latency) <= 10%", "p95(latency) is a time"),
        ("miss_rate <= 5ms", "miss_rate is a share"),
        ("goodput >= 20", "goodput is a rate"),
        ("in_system <= 5/s", "in_system is a count"),
        ("mean(bytes) <= 5", "mean(bytes) is a size"),
        ("mean(throughput) >= 5/s", "write it without mean()"),
        ("latency <= 80ms", "write p95(latency)"),
        ("p95(miss_rate) <= 80%", "write it without p95()"),
        ("p100(latency) <= 80ms", "p50 to p99.9"),
        ("p49(latency) <= 80ms", "p50 to p99.9"),
        ("q95(latency) <= 80ms", "did you mean 'p95'"),
        ("meen(latency) <= 80ms", "did you mean 'mean'"),
        ("p95(latency[step=x]) <= 80ms", "request_latency"),
        ("p95(request_latency[stp=x]) <= 80ms", "[step=NAME]"),
        ("miss_rate <= 0%", "no finite run can show"),
        ("p95 latency <= 80ms", "is no measure"),
        ("<= 80ms", "is no measure"),
        ("", "needs <= or >="),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what counts
        parse(text)
    assert reason in str(caught.value)


def test_parsing_imports_no_numpy():
    code = (
        "import sys; from djinnload.objective import parse; "
        "parse('p95(latency) <= 1ms'); print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("percentile", "n"), [("p95", 59), ("p99", 299)])
def test_a_percentile_passes_from_a_known_number_of_turns(percentile, n):
    bound = parse(f"{percentile}(latency) <= 80ms")
    enough = decide(bound, [samples(np.full(n, 10.0))])
    assert (enough.met, enough.n, enough.n_eff, enough.over) == (True, n, n, 0)
    assert enough.value == 10 * MS
    short = decide(bound, [samples(np.full(n - 1, 10.0))])
    assert (short.met, short.needed) == (None, 1)
    assert "about 1 more turns needed" in short.reason


@pytest.mark.parametrize(("confidence", "n"), [(0.95, 59), (0.999, 135)])
def test_more_confidence_takes_more_turns(confidence, n):
    wanted = parse("p95(latency) <= 80ms")
    met = [
        decide(wanted, [samples(np.full(each, 10.0))], confidence=confidence).met
        for each in (n - 1, n)
    ]
    assert met == [None, True]
    needed = decide(
        wanted, [samples(np.full(n - 1, 10.0))], confidence=confidence
    ).needed
    assert needed == 1


def test_more_confidence_widens_a_mean_s_interval():
    repeats = [samples(noise(50, seed)) for seed in range(5)]
    wanted = parse("mean(latency) <= 10.3ms")
    assert decide(wanted, repeats).met is True
    assert decide(wanted, repeats, confidence=0.999_99).met is None


def test_repeats_are_summed():
    bound = parse("p95(latency) <= 80ms")
    decision = decide(bound, [samples(np.full(30, 10.0)), samples(np.full(29, 10.0))])
    assert (decision.met, decision.n, decision.n_eff) == (True, 59, 59)


def test_a_percentile_fails_when_too_many_are_over():
    latency = np.full(200, 10.0)
    latency[::8] = 100.0
    decision = decide(parse("p95(latency) <= 80ms"), [samples(latency)])
    assert (decision.met, decision.over, decision.needed) == (False, 25, None)


def test_a_turn_that_is_not_ok_is_over():
    ok = np.ones(200, bool)
    ok[::8] = False
    decision = decide(
        parse("p95(latency) <= 80ms"), [samples(np.full(200, 1.0), ok=ok)]
    )
    assert (decision.met, decision.value) == (False, math.inf)


def test_nothing_ok_fails():
    none = np.zeros(100, bool)
    decision = decide(
        parse("p50(latency) <= 80ms"), [samples(np.full(100, 1.0), ok=none)]
    )
    assert decision.met is False


def test_as_many_more_as_needed_do_decide():
    latency = np.tile([10.0] * 39 + [100.0], 5)  # 2.5% over: p95 holds, with more
    bound = parse("p95(latency) <= 80ms")
    short = decide(bound, [samples(latency)])
    assert short.met is None
    assert short.needed is not None
    more = math.ceil((short.n + short.needed) / 40 * 1.1)
    assert decide(bound, [samples(np.tile(latency[:40], more))]).met is True
    less = math.floor((short.n + short.needed) / 40 * 0.9)
    assert decide(bound, [samples(np.tile(latency[:40], less))]).met is None


def test_a_share_on_its_bound_promises_nothing():
    latency = np.tile([10.0] * 19 + [100.0], 20)
    decision = decide(parse("p95(latency) <= 80ms"), [samples(latency)])
    assert (decision.met, decision.needed) == (None, None)
    assert "too near the bound" in decision.reason


def test_turns_that_depend_on_each_other_count_for_less():
    calm = noise(400)
    waves = calm + 30 * np.sin(np.arange(400) / 40)
    bound = parse("p99(latency) <= 80ms")
    assert decide(bound, [samples(calm)]).n_eff > 150
    dependent = decide(bound, [samples(waves)])
    assert dependent.n_eff < 100
    assert dependent.met is None


def test_no_turns_decide_nothing():
    for text, needed in [("p95(latency) <= 80ms", 59), ("mean(latency) <= 80ms", None)]:
        decision = decide(parse(text), [samples([])])
        assert (decision.met, decision.value, decision.needed) == (None, None, needed)


def test_at_least_is_counted_from_the_other_side():
    assert decide(parse("p95(latency) >= 5ms"), [samples(noise(200))]).met is True
    assert decide(parse("p95(latency) >= 50ms"), [samples(noise(200))]).met is False


def test_rates_are_counted():
    late = np.tile([10.0] * 9 + [100.0], 100)
    fast = samples(late, deadline_ms=50)
    for text, met in [
        ("miss_rate <= 20%", True),
        ("miss_rate <= 5%", False),
        ("miss_rate <= 10%", None),
        ("error_rate <= 1%", True),
    ]:
        assert decide(parse(text), [fast]).met is met, text


def test_a_mean_is_decided_over_repeats():
    repeats = [samples(noise(50, seed)) for seed in range(5)]
    for text, met in [("mean(latency) <= 11ms", True), ("mean(latency) <= 9ms", False)]:
        decision = decide(parse(text), repeats)
        assert (decision.met, decision.n, decision.n_eff) == (met, 250, 5)
        assert decision.value == pytest.approx(10 * MS, rel=0.05)
    near = decide(parse("mean(latency) <= 10.05ms"), repeats)
    assert near.met is None


def test_a_mean_is_decided_over_blocks():
    decision = decide(parse("mean(latency) <= 11ms"), [samples(noise(2000))])
    assert decision.met is True
    assert decision.n_eff >= 20
    assert "blocks" in decision.reason


def test_one_failure_makes_a_mean_infinite():
    ok = np.ones(500, bool)
    ok[7] = False
    decision = decide(parse("mean(latency) <= 1s"), [samples(noise(500), ok=ok)])
    assert (decision.met, decision.value) == (False, math.inf)


def test_the_largest_is_the_value_itself():
    assert decide(parse("max(latency) <= 9ms"), [samples([1, 9])]).met is True
    assert decide(parse("max(latency) <= 9ms"), [samples([1, 9.1])]).met is False


def test_goodput_counts_turns_in_time():
    late = np.tile([10.0] * 9 + [100.0], 400)
    decision = decide(parse("goodput >= 80/s"), [samples(late, deadline_ms=50)])
    assert decision.value == pytest.approx(90, rel=0.01)
    assert decision.met is True


def test_in_system_is_rate_times_time():
    decision = decide(parse("in_system <= 2"), [samples(noise(4000))])
    assert decision.value == pytest.approx(1, rel=0.01)
    assert decision.met is True


def test_gpu_util_comes_from_its_probe():
    probe = [np.random.default_rng(seed).normal(0.8, 0.02, 60) for seed in range(5)]
    cells = [samples(noise(10, seed)) for seed in range(5)]
    assert decide(parse("gpu_util >= 70%"), cells, probe=probe).met is True
    assert decide(parse("gpu_util >= 70%"), cells).met is None


def judged(met, **more):
    decision = objective.Decision(
        "p95(latency) <= 80ms", 1.0, 2.0, met, 9, 9.0, 0, None, "numbers"
    )
    return Judged(decision, "chat", "all/qos", **more)


VOID = Finding("LATE", "late", void=True)


def test_void_over_fail_over_pass():
    assert run_verdict([judged(True)]).status == "pass"
    assert run_verdict([judged(True), judged(False)]).status == "fail"
    assert run_verdict([judged(False)], [VOID]).status == "void"
    undecided = run_verdict([judged(True), judged(None)])
    assert [reason.code for reason in undecided.reasons] == ["UNDECIDED"]
    assert "all/qos chat" in undecided.reasons[0].message


def test_an_arm_that_is_not_judged_decides_nothing():
    shown = [judged(False, judged=False), judged(None, judged=False)]
    assert run_verdict(shown).status == "pass"


def test_what_is_accepted_becomes_a_finding():
    verdict = run_verdict([judged(True)], [VOID], accepted=["LATE"])
    assert verdict.status == "pass"
    assert [(f.code, f.void, f.accepted) for f in verdict.findings] == [
        ("LATE", False, True)
    ]
    assert run_verdict([judged(True)], [VOID], accepted=["CPU"]).status == "void"
    assert run_verdict([judged(None)], accepted=["UNDECIDED"]).status == "pass"


def test_exit_codes_are_in_order():
    wrong, void = ScenarioError("$", "no"), run_verdict([], [VOID])
    assert exit_code(None, interrupted=True, error=wrong) == 130
    assert exit_code(void, error=wrong) == 2
    assert exit_code(void, error=OSError()) == 3
    assert exit_code(None) == 3
    assert exit_code(void) == 4
    assert exit_code(run_verdict([judged(False)])) == 1
    assert exit_code(run_verdict([judged(True)])) == 0


def test_throughput_counts_units_that_were_done_in_time():
    whole = samples(np.full(100, 10.0))
    due = whole.turns.due_ns
    known = dict.fromkeys(Requests.__struct_fields__, np.full(100, np.nan))
    known |= {
        "outcome": np.where(np.arange(100) < 90, "ok", "error").astype(object),
        # The last two of the ok ones come after the end of measure.
        "done_ns": due + np.where(np.arange(100) < 88, 1, 10**12),
        "units": np.full(100, 3.0),
    }
    found = msgspec.structs.replace(whole, requests=Requests(**known))
    decision = decide(parse("throughput >= 200/s"), [found])
    assert decision.value == pytest.approx(3 * 88)
    assert decision.value == pytest.approx(throughput(found))
