"""Arrival processes: exact offsets where nothing is drawn, and options that are wrong."""

from itertools import islice
from random import Random

import pytest

from djinnload import registry
from djinnload.describe import describe
from djinnload.errors import ScenarioError
from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads

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
