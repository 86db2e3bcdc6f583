"""Arrival processes: exact offsets where nothing is drawn, and options that are wrong."""

import hashlib
import tracemalloc
from itertools import islice, takewhile
from random import Random

import pytest

from djinnload import documents, registry
from djinnload.describe import describe
from djinnload.errors import ScenarioError
from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.files import InputFile
from djinnload.scenarios.load import load, loads
from djinnload.schedule import Open, Schedule, starts
from djinnload.testing import Answer, ScriptedTarget, simulate

S = 1_000_000_000

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
BURSTGPT = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def made(process, **given):
    kind = registry.find(registry.ARRIVALS, process, path="$.arrival.process")
    options = registry.options(kind, given, "$.arrival")
    return registry.make(process, "$.arrival", kind, options)


def offsets(arrival, n=100):
    return [offset for offset, _ in islice(arrival.offsets(Random(1)), n)]


def write(tmp_path, text):
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


@pytest.mark.parametrize(
    ("process", "given", "seconds"),
    [
        # Area t² ÷ 2 reaches 0, 1, 2, …; after 4 s and 8 sessions the rate stays at 4.
        ("ramp", {"end": "4/s", "over": "4s"}, [0, 2**0.5, 2, 6**0.5, 8**0.5, 10**0.5, 12**0.5, 14**0.5, 4, 4.25, 4.5]),
        # 2t − t² ÷ 2, down to 0 at 2 s: the area is 2, half-open, so two sessions.
        ("ramp", {"start": "2/s", "over": "2s"}, [0, 2 - 2**0.5]),
        ("ramp", {"start": "2/s", "end": "2/s", "over": "1s"}, [0, 0.5, 1, 1.5]),
        # The third one, due at the border, belongs to the stage after the pause.
        ("stages", {"stages": [{"rate": "2/s", "time": "1s"}, {"time": "3s"}, {"rate": "1/s", "time": "2s"}]}, [0, 0.5, 4, 5]),
        ("stages", {"stages": [{"time": "1s"}, {"rate": "1/s", "time": "1s"}]}, [1]),
    ],
)  # fmt: skip
def test_where_the_area_reaches_whole_numbers(process, given, seconds):
    found = offsets(made(process, random=False, **given), len(seconds))
    assert found == [round(each * S) for each in seconds]


def test_stages_end_and_expect_no_more():
    arrival = made("stages", stages=[{"rate": "3/s", "time": "2s"}])
    assert [arrival.expected(t) for t in (1, 2, 9)] == [3, 6, 6]
    assert max(offsets(arrival)) < 2 * S


@pytest.mark.parametrize(
    ("process", "given", "reason"),
    [
        ("gamma", {"rate": "1/s", "shape": 0}, "arrival.shape: must be a number >= 0.01"),
        ("bursts", {"rate": "1/s", "probability": 0.5, "size": [5, 3]}, "falls"),
        ("bursts", {"rate": "1/s", "probability": 0.5, "size": [0, 3]}, "size"),
        ("bursts", {"rate": "1/s", "probability": 2, "size": [1, 3]}, "probability"),
        ("onoff", {"rate": "1/s", "on": "0s", "off": "1s"}, "on and off must be"),
        ("ramp", {"end": "1/s", "over": "0s"}, "over must be"),
        ("ramp", {"over": "1s"}, "start and end are missing"),
        ("stages", {"stages": []}, "stages"),
        ("stages", {"stages": [{"time": "1s"}]}, "no stage has a rate"),
        ("stages", {"stages": [{"rate": "1/s", "time": "0s"}]}, "time must be"),
        ("trace", {"path": "x", "time": "0s"}, "time must be"),
        ("trace", {"path": "x", "format": "azur"}, "'azure'"),
        ("trace", {"path": "x", "speed": "0.2 of capacity"}, "arrival.speed: must be a number"),
    ],
)  # fmt: skip
def test_wrong_options(process, given, reason):
    with pytest.raises(ScenarioError, match=r"^\$\.arrival") as caught:
        made(process, **given)
    assert reason in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "seconds", "lengths"),
    [
        (AZURE + "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319600,3180,8\r\n", [0, 0.052], (3180, 8)),
        (AZURE + "2024-05-10 00:00:00.009930+00:00,1,2\n2024-05-10 00:00:01+00:00,3,4\n", [0, 0.99007], (3, 4)),
        ('{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n\n{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": []}\n', [0, 3.053], (6472, 26)),
        (BURSTGPT + "5,,1.5,ChatGPT,472,18,490,Conversation log\n45.5,,2,GPT-4,1087,230,1317,API log\n", [0, 40.5], (1087, 230)),
    ],
    ids=["azure-2023", "azure-2024", "mooncake", "burstgpt"],
)  # fmt: skip
def test_formats_are_told_by_their_columns(text, seconds, lengths, tmp_path):
    arrival = made("trace", path=write(tmp_path, text))
    found = list(arrival.offsets(Random(1)))
    assert [offset for offset, _ in found] == [round(each * S) for each in seconds]
    assert found[-1][1] == dict(
        zip(("prompt_tokens", "new_tokens"), lengths, strict=True)
    )
    assert len(list(arrival.lengths())) == 2


@pytest.mark.parametrize(
    ("process", "given", "rate"),
    [
        ("ramp", {"start": "5/s", "end": "50/s", "over": "60s"}, 5),
        ("ramp", {"start": "50/s", "end": "5/s", "over": "1s"}, 50),
        ("ramp", {"start": "5/s", "over": "1s"}, 5),
        ("ramp", {"end": "50/s", "over": "60s"}, 0),
        ("stages", {"stages": [{"rate": "4/s", "time": "1s"}, {"rate": "40/s", "time": "1s"}]}, 4),
        ("stages", {"stages": [{"time": "1s"}, {"rate": "40/s", "time": "1s"}]}, 0),
    ],
)  # fmt: skip
def test_warmup_is_steady_at_the_first_rate(process, given, rate):
    """An even pace where nothing is drawn; else Poisson: alpha 1e-6 of its count."""
    even = made(process, **given, random=False)
    found = [offset for offset, _ in islice(even.warmup(Random(1)), 500)]
    assert found == [round(k * S / rate) for k in range(500 if rate else 0)]
    drawn = list(takewhile(lambda o: o[0] < 100 * S, made(process, **given).warmup(Random(1))))  # fmt: skip
    assert abs(len(drawn) - 100 * rate) <= 4.9 * (100 * rate) ** 0.5


def test_warmup_of_a_schedule_ends_where_measure_begins():
    """10 s at 5/s before the ramp from there to 50/s, whose beginning does not move."""
    ramp = made("ramp", start="5/s", end="50/s", over="60s", random=False)
    found = list(starts(Schedule(1, (Open(0, ramp),), 10 * S, 60 * S)))
    before = [start.offset_ns for start in found if start.offset_ns < 0]
    assert before == [k * S // 5 - 10 * S for k in range(50)]
    assert [s.offset_ns for s in found if s.offset_ns >= 0][:100] == offsets(ramp)


def test_a_process_without_a_warmup_of_its_own_plays_itself():
    """Its rate does not depend on the time; a trace plays its beginning."""
    for process, given in (
        ("constant", {"rate": "5/s"}),
        ("poisson", {"rate": "5/s"}),
        ("gamma", {"rate": "5/s", "shape": 2}),
        ("bursts", {"rate": "5/s", "probability": 0.1, "size": [2, 3]}),
        ("onoff", {"rate": "5/s", "on": "1s", "off": "1s"}),
    ):
        arrival = made(process, **given)
        assert not hasattr(arrival, "warmup")
        found = starts(Schedule(3, (Open(0, arrival),), 20 * S, S))
        before = [s.offset_ns + 20 * S for s in found if s.offset_ns < 0]
        own = [offset for offset, _ in islice(arrival.offsets(Random("3/warmup/0/-1")), len(before))]  # fmt: skip
        assert before == own
        assert len(before) > 10


def ticks(*ms):
    return "".join(
        f'{{"timestamp": {t}, "input_length": {t}, "output_length": 1}}\n' for t in ms
    )


def test_a_trace_is_cut_in_its_own_time_then_sped_up(tmp_path):
    path = write(tmp_path, ticks(1000, 2000, 4000, 6000, 9000))
    arrival = made("trace", path=path, start="1s", time="7s", speed=2)
    assert offsets(arrival) == [0, S, 2 * S]
    assert [arrival.expected(t) for t in (0, 1, 1.5, 9)] == [0, 1, 2, 3]


def test_spread_keeps_order_and_stays_before_the_next_timestamp(tmp_path):
    path = write(tmp_path, ticks(0, 0, 0, 1000, 4000))
    arrival = made("trace", path=path, spread="3s")
    found = offsets(arrival)
    assert found == sorted(found)
    assert 0 <= found[0] <= found[2] < S <= found[3] < 4 * S <= found[4] < 7 * S
    assert [arrival.expected(t) for t in (0.5, 1, 2.5, 7)] == [1.5, 3, 3.5, 5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no sessions"),
        (AZURE, "has no sessions"),
        ("a,b\n1,2\n", "line 1: its columns are 'a', 'b', wanted are azure: TIMESTAMP"),
        (AZURE + "2023-11-16 18:17:03,x,1\n", "line 2, column ContextTokens: 'x' is no number of tokens"),
        (AZURE + "2023-11-16 18:17:03,1\n", "line 2, column GeneratedTokens: None is no value"),
        (AZURE + "yesterday,1,1\n", "line 2, column TIMESTAMP: 'yesterday' is no date"),
        (AZURE + "2023-99-16 18:17:03,1,1\n", "line 2, column TIMESTAMP: "),
        (AZURE + "2023-11-16 18:17:03,1,-1\n", "column GeneratedTokens"),
        (AZURE + '2023-11-16 18:17:03,"1,1\n', "line 2: no CSV"),
        (ticks(5, 3), "line 2, column timestamp: is earlier"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1}\n{"times\n', "line 2, column 8: no JSON, Invalid"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1}\n[]\n', "line 2, column 1: no JSON object"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}\n', "True is no number of ms"),
        ('{"timestamp": 1e999, "input_length": 1, "output_length": 1}\n', "inf is no number of ms"),
        ('{"timestamp": 1e99, "input_length": 1, "output_length": 1}\n', "is no number of ms"),
        ('{"timestamp": 1, "input_length": 1.5, "output_length": 1}\n', "column input_length: 1.5"),
        (BURSTGPT + "NaN,,1,m,1,1,2,x\n", "column Timestamp: 'NaN' is no number of seconds"),
    ],
)  # fmt: skip
def test_bad_traces_say_where(text, reason, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        made("trace", path=path)
    assert caught.value.exit_code == 2
    assert path in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["\n\n", AZURE + "\r\n\r\n"])
def test_lines_without_anything_are_no_sessions(text, tmp_path):
    with pytest.raises(ScenarioError, match="has no sessions"):
        made("trace", path=write(tmp_path, text))


def test_a_trace_takes_bytes_not_objects(tmp_path):
    """16 bytes a session once it is read, and no more while it is played."""
    n = 50_000
    row = "{i},,1,m,{i},2,3,x\n"
    path = write(tmp_path, BURSTGPT + "".join(row.format(i=i) for i in range(n)))
    made("trace", path=path, time="1s")  # what is imported and cached counts not
    tracemalloc.start()
    try:
        arrival = made("trace", path=path)
        read, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(1 for _ in arrival.offsets(Random(1))) == n
        assert sum(1 for _ in arrival.lengths()) == n
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Arrays grow in steps of an eighth.
    assert read < 20 * n
    assert peak - read < 48 * n


def test_no_trace_there_none_left_or_no_text(tmp_path):
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        made("trace", path=str(tmp_path / "none"))
    with pytest.raises(ScenarioError, match="is left: it ends after 2s"):
        made("trace", path=write(tmp_path, ticks(0, 2000)), start="3s")
    (tmp_path / "gz").write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(ScenarioError, match="is not UTF-8"):
        made("trace", path=str(tmp_path / "gz"))


def test_a_description_names_a_process_without_a_single_rate():
    text = SCENARIO % ('{ process = "ramp", end = "4/s", over = "10s" }', "")
    (expected,) = describe(loads(text)).populations["default"]
    assert (expected.loop, expected.rate, expected.sessions) == ("open", "ramp", 20)


SCENARIO = """
[scenario]
name = "s"
duration = "10s"

[[population]]
name = "p"
arrival = %s
workload = { use = "llm", model = "gpt2-tiny"%s }
"""


def planned(arrival, more=""):
    scenario = loads(SCENARIO % (arrival, more))
    return plan(cells(scenario.at_capacity(100.0))[0], workshop=Workshop())


def test_lengths_that_a_model_cannot_take_are_found_at_plan(tmp_path):
    path = write(tmp_path, ticks(1, 5000))
    arrival = f"{{ process = 'trace', path = '{path}' }}"
    with pytest.raises(ScenarioError, match=r"\(p\)\.workload\.prompt_tokens: of a trace's session: 5000") as caught:  # fmt: skip
        planned(arrival)
    assert 'too_long = "clip"' in str(caught.value)
    found = planned(arrival, ', too_long = "clip"')
    assert found.paces["p"].offered_per_s == 0.2
    assert found.paces["p"].random is False


def test_a_trace_lies_beside_its_scenario_and_is_recorded(tmp_path, monkeypatch):
    """Path as written, size and sha256; whatever the working directory is."""
    (tmp_path / "traces").mkdir()
    write(tmp_path / "traces", ticks(1, 50))
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO % ("{ process = 'trace', path = 'traces/trace' }", ""))
    monkeypatch.chdir("/")
    found = plan(cells(load(scenario))[0], workshop=Workshop())
    assert found.paces["p"].offered_per_s == 0.2
    data = (tmp_path / "traces" / "trace").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    assert found.files["p"] == (InputFile("path", "traces/trace", len(data), sha256),)
    assert documents_population(found)["files"][0]["sha256"] == sha256
    (tmp_path / "traces" / "trace").write_text(ticks(1), encoding="utf-8")
    found = plan(cells(load(scenario))[0], workshop=Workshop())
    assert found.files["p"][0].sha256 != sha256
    (tmp_path / "traces" / "trace").unlink()
    with pytest.raises(ScenarioError, match="traces/trace cannot be read") as caught:
        plan(cells(load(scenario))[0], workshop=Workshop())
    assert caught.value.path == "$.population[0] (p).arrival"


def documents_population(found):
    return documents._population(found, "p")


def test_a_trace_tells_llm_its_lengths_end_to_end(tmp_path):
    """File → plan → engine → requests: prompts and answers as long as recorded."""
    rows = [(5, 1), (9, 3), (2, 4)]
    text = AZURE + "".join(
        f"2023-11-16 18:17:0{i}.5,{prompt},{new}\n"
        for i, (prompt, new) in enumerate(rows)
    )
    found = planned(f"{{ process = 'trace', path = '{write(tmp_path, text)}' }}")
    calls = []

    def answer(call):
        calls.append((call.session_id, call.request))
        return Answer(1_000_000)

    simulate(
        found.populations,
        found.schedule,
        lambda clock: ScriptedTarget(clock, answer),
        grace_ns=S,
    )
    told = {}
    for session, request in calls:
        told.setdefault(session, []).append(request)
    measured = [told[f"sim-p--1-{k}"] for k in range(3)]
    assert [each[0].inputs["input_ids"].shape[1] for each in measured] == [5, 9, 2]
    assert [len(each) for each in measured] == [1, 3, 4]
    assert [each[-1].last for each in measured] == [True] * 3


@pytest.mark.parametrize(
    ("arrival", "per_s"),
    [
        ('{ process = "gamma", rate = "0.2 of capacity", shape = 2 }', 20),
        ('{ process = "bursts", rate = "0.2 of capacity", probability = 0.5, size = [2, 4] }', 40),
        ('{ process = "onoff", rate = "0.4 of capacity", rate_off = "0.1 of capacity", on = "1s", off = "2s" }', 20),
        ('{ process = "ramp", end = "0.4 of capacity", over = "10s" }', 20),
        ('{ process = "stages", stages = [{ rate = "0.4 of capacity", time = "5s" }] }', 20),
    ],
)  # fmt: skip
def test_rates_of_capacity(arrival, per_s):
    assert planned(arrival).paces["p"].offered_per_s == pytest.approx(per_s)
