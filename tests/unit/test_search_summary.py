"""Cells of a search → what it says: whose fault a void cell is, pooling, the document."""

import io
import json

import pytest
from msgspec.structs import replace
from rich.console import Console

import health_kit as kit
from djinnload.findings import Finding
from djinnload.health.cell import judge_cell
from djinnload.report import search_text
from djinnload.search.machine import Outcome, Range
from djinnload.search.summary import Played
from djinnload.summary.run import Cell

PATH = "population.chat.arrival.rate"
RANGE = Range(50, 400, resolution=0.5, probes=8, looks=2)
OBJECTIVE = "p90(latency) <= 100ms"


def measured(load, number=0, *, findings=None, objectives=(OBJECTIVE,), **changes):
    """A cell of an M/M/1 of 200/s at *load*; *findings* instead of the rules'."""
    samples = kit.population(number + int(load), rate=load, **changes)
    evidence = kit.cell(samples, plan={"objectives": list(objectives)})
    found = judge_cell(evidence) if findings is None else findings
    entry = {"id": f"p-{load:g}/default/r{number:02d}"}
    return Cell(entry, "done", evidence.manifest, evidence, None, tuple(found))


def void(code, value=1.0):
    return Finding(code, "seen", void=True, value=value)


def played(answer, asked=RANGE):
    found = Played(PATH, asked)
    while (step := found.search.step) is not None:
        found.take(answer(step))
    return found


def outcome_of(*cells, asked=RANGE):
    """What the first probe comes to, of these cells."""
    found = Played(PATH, asked)
    for cell in cells:
        found.take(cell)
    return found.search.probes[0].outcome


def healthy(step):
    return measured(step.load, step.cell, findings=())


def test_a_queue_s_capacity_is_bracketed_with_the_real_rules():
    document = played(lambda step: measured(step.load, step.cell)).document()
    assert document["end"] == "bracket"
    assert document["passing"] < 200 <= document["failing"]
    by_load = {each["load"]: each for each in document["probes"]}
    assert by_load[50]["outcome"] == "pass"
    assert by_load[50]["achieved_per_s"] == pytest.approx(50, rel=0.2)
    assert by_load[400]["outcome"] in {"fail", "unsustained"}
    assert by_load[400]["growth_per_s"] == pytest.approx(200, rel=0.3)
    assert by_load[400]["achieved_per_s"] == pytest.approx(200, rel=0.2)
    assert 150 < document["saturation"]["load"] <= 400
    assert document["knee"]["load"] in by_load
    json.dumps(document)


@pytest.mark.parametrize(
    "code", ["LATE", "CPU", "LOOP_STALL", "UNDELIVERED", "DROPPED", "ARRIVALS"]
)
def test_what_the_generator_did_never_counts_as_the_server_failing(code):
    # Its objective is missed as well, and its queue grew: neither counts.
    bad = measured(400, findings=[void(code), void("NOT_STEADY"), void("LITTLE")])
    assert outcome_of(bad) is None
    assert outcome_of(bad, bad) is Outcome.GENERATOR


@pytest.mark.parametrize("code", ["NOT_STEADY", "LITTLE"])
def test_what_the_server_could_not_keep_up_with_is_not_sustained(code):
    bad = measured(50, findings=[void(code)])
    assert outcome_of(bad) is None
    assert outcome_of(bad, bad) is Outcome.UNSUSTAINED


def test_a_queue_that_grew_counts_though_no_rule_was_asked():
    slow = measured(400, findings=(), objectives=["p90(latency) <= 1h"])
    assert outcome_of(slow, slow) is Outcome.UNSUSTAINED


def test_latency_that_fell_is_no_overload():
    fell = measured(50, findings=[void("NOT_STEADY", -0.5)])
    assert outcome_of(fell, fell) is Outcome.UNDECIDED
    assert outcome_of(fell, measured(50, findings=())) is Outcome.PASS


def test_wrong_answers_void_it_all():
    found = played(lambda step: measured(step.load, findings=[void("WRONG")]))
    document = found.document()
    assert (document["end"], document["exit_code"]) == ("void", 4)
    assert "WRONG: seen" in document["reason"]


def test_a_low_that_nobody_answers_is_void_and_a_higher_one_fails():
    nobody = void("NO_ANSWERS")
    assert outcome_of(measured(50, findings=[nobody])) is Outcome.VOID

    def answer(step):
        if step.load < 150:
            return healthy(step)
        return measured(step.load, findings=[nobody], service_ms=1000)

    assert played(answer).document()["end"] == "bracket"


def test_accepted_reasons_do_not_count():
    accepted = replace(void("LATE"), void=False, accepted=True)
    assert outcome_of(measured(50, findings=[accepted])) is Outcome.PASS


def test_cells_that_are_void_are_not_pooled():
    found = Played(PATH, RANGE)
    found.take(measured(50, 0, findings=[void("LATE")]))
    found.take(measured(50, 1, findings=()))
    (probe,) = found.document()["probes"]
    assert (probe["looks"], probe["spoiled"]) == (1, 1)
    assert len(probe["cells"]) == 2
    assert probe["seconds"] == kit.SECONDS


def test_looks_are_pooled():
    asked = replace(RANGE, confidence=0.999_999_9)
    found = Played(PATH, asked)
    objectives = ["p99(latency) <= 100ms"]
    for number in range(2):
        found.take(measured(50, number, findings=(), objectives=objectives))
    (probe,) = found.document()["probes"]
    assert probe["seconds"] == 2 * kit.SECONDS
    assert probe["n"] == probe["objectives"][0]["n"]
    assert probe["outcome"] == "undecided"


def test_a_server_that_turns_work_away_is_saturated_though_it_passes():
    def refuse(outcome, rng):
        outcome[::8] = "refused"
        return outcome

    def answer(step):
        changes = {"outcome": refuse} if step.load > 120 else {}
        wanted = ["p50(latency) <= 1h"]
        return measured(
            step.load, step.cell, findings=(), service_ms=1, objectives=wanted,
            **changes,
        )  # fmt: skip

    document = played(answer).document()
    assert document["end"] == "high"
    assert document["saturation"]["load"] == 200
    shares = {each["load"]: each["not_ok"] for each in document["probes"]}
    assert shares[100] == 0
    assert shares[200] == pytest.approx(1 / 8, rel=0.05)


def test_every_objective_has_to_be_met():
    objectives = [OBJECTIVE, "p90(latency) <= 1us"]
    one = measured(50, findings=(), objectives=objectives)
    assert outcome_of(one) is Outcome.FAIL


def test_more_cells_than_asked_for_are_refused():
    found = played(lambda step: measured(400, findings=()))
    with pytest.raises(ValueError, match="the search was over"):
        found.take(measured(50, findings=()))


def test_without_a_cell_there_is_a_document():
    document = Played(PATH, RANGE).document(interrupted=True)
    assert (document["exit_code"], document["probes"]) == (130, [])
    assert Played(PATH, RANGE).document(error="gone")["exit_code"] == 3


# In the terminal


def shown(document, monkeypatch, tmp_path, **options):
    out = io.StringIO()
    console = Console(file=out, width=80, color_system=None, highlight=False)
    monkeypatch.setattr(search_text, "Console", lambda **_: console)
    search_text.show(document, tmp_path, **options)
    return out.getvalue()


def test_a_bracket_in_the_terminal(monkeypatch, tmp_path):
    document = played(lambda step: measured(step.load, step.cell)).document()
    said = shown(document, monkeypatch, tmp_path, title="[x]")
    table = said.partition("growth: of")[0].splitlines()
    assert table[1].startswith("[x]: probes of population.chat.arrival.rate")
    rows = [line.split()[:2] for line in table[3:]]
    assert rows == [[p["shown"], p["outcome"]] for p in document["probes"]]
    low, high = (f"{document[key]:.4g}/s" for key in ("passing", "failing"))
    assert f"the limit is in [{low}, {high}) with 95.0 % confidence" in said
    assert "saturation: queues grew, or over 5 % were not ok, from" in said
    quiet = shown(document, monkeypatch, tmp_path, quiet=True)
    assert quiet.startswith("\nsearch: BRACKET")


def test_the_generator_s_limit_in_the_terminal(monkeypatch, tmp_path):
    def answer(step):
        late = [void("LATE")] if step.load > 60 else ()
        return measured(step.load, step.cell, findings=late)

    document = played(answer).document()
    assert document["failing"] is None
    said = shown(document, monkeypatch, tmp_path)
    assert "search: GENERATOR, 50/s: shown to meet every objective" in said
    assert "limited by the generator at" in said


def test_what_was_interrupted_in_the_terminal(monkeypatch, tmp_path):
    document = Played(PATH, RANGE).document(interrupted=True)
    said = shown(document, monkeypatch, tmp_path)
    assert "search: INTERRUPTED, no load was shown" in said
