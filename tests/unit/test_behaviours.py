"""What arms say they do: presets, what is refused and where, what counts as proof."""

import pytest
from msgspec.structs import replace as with_fields

import djinnload
from djinnload import documents
from djinnload.boots import settings
from djinnload.describe import describe
from djinnload.errors import LocalProtocolError, ScenarioError
from djinnload.health.run import unproven
from djinnload.plan import Workshop, plan
from djinnload.report.plan_text import show_plan
from djinnload.scenarios.behaviours import (
    NAMES,
    PRESETS,
    Behaviours,
    differing,
    matrix,
    resolved,
)
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads
from djinnload.server.inputs import RequestError
from djinnload.server.parts import STALE_NS, Parts
from djinnload.spi import Call, Model, Outcome, Reply, Request, Tensor
from djinnload.targets.shipping import EXECUTES, Shipping
from health_kit import cell, codes, population  # tests/, by conftest.py

TEXT = """
[scenario]
name = "arms"
duration = "1s"
[[population]]
name = "chat"
users = 1
workload = { use = "echo" }
[[arm]]
name = "blind"
behaviours = { preset = "semantic_blind" }
[[arm]]
name = "full"
behaviours = { preset = "full" }
[[arm]]
name = "plain"
[comparison]
baseline = "full"
metrics = ["mean(latency)"]
"""


def test_the_matrix_shows_what_each_arm_leaves_out():
    arms = {name: PRESETS[name] for name in PRESETS if name.startswith("full")}
    names, rows = matrix(arms, "full")
    assert names == NAMES
    starred = {arm: [n for n, w in zip(names, words, strict=True) if w.endswith(" *")]
               for arm, words in rows}  # fmt: skip
    assert starred == {
        "full": [],
        "full_without_skeletonization": ["result"],
        "full_without_stateful_caching": ["state"],
        "full_without_phase_detection": ["phases"],
        "full_without_plan_cache": ["plan"],
        "full_without_vmu": ["memory"],
    }
    names, rows = matrix({"full": PRESETS["full"], "plain": {}}, None)
    assert dict(rows)["plain"] == ("–",) * len(names)
    assert not any(word.endswith("*") for _, words in rows for word in words)


def test_check_prints_the_matrix_before_anything_runs(capsys):
    skipping = 'skip = { users = [2] }\nbehaviours = { preset = "semantic_blind" }'
    text = TEXT.replace('behaviours = { preset = "semantic_blind" }', skipping)
    sweep = (
        '[[sweep]]\nname = "users"\npath = "population.chat.users"\nvalues = [1, 2]\n'
    )
    show_plan(describe(loads(text + sweep)))
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("behaviours"))
    assert lines[at].strip() == "behaviours (* other than in full)"
    heads, blind, full = (line.split() for line in lines[at + 1 : at + 4])
    assert heads == ["arm", *(n for n in NAMES if n in PRESETS["full"])]
    assert blind[:3] == ["blind", "per_call", "*"]
    differ = differing([PRESETS["semantic_blind"], PRESETS["full"]])
    assert blind.count("*") == len(differ)
    assert "arm blind: n/a at users=2" in lines
    assert full[:3] == ["full", "resident", "session"]
    assert "*" not in full


def test_presets_differ_as_the_evaluation_has_it():
    blind, full = PRESETS["semantic_blind"], PRESETS["full"]
    assert differing([blind, full]) == set(NAMES) - {"memory"}
    assert differing([PRESETS["partially_aware"], full]) == {"state", "phases"}
    for name in PRESETS:
        if name.startswith("full_without_"):
            assert len(differing([PRESETS[name], full])) == 1
    for words in PRESETS.values():
        for name, word in words.items():
            assert word in EXECUTES[name]


def test_an_allocator_is_told_to_the_server_when_it_starts():
    behaviours = '{ memory = "malloc" }'
    scenario = loads(TEXT.replace('{ preset = "full" }', behaviours))
    found = {c.arm: c.scenario.target.server.memory for c in cells(scenario)}
    assert found == {"blind": None, "full": "malloc", "plain": None}
    (full,) = cells(scenario, ["full"])
    assert settings.settings(full.scenario)["memory"] == "malloc"
    told = settings.environment(full.scenario)
    assert told["DJINNLOAD_SERVER_MEMORY"] == "malloc"
    assert plan(full, workshop=Workshop()).behaviours == {"memory": "malloc"}


def test_words_beside_a_preset_change_it():
    assert resolved(None) == {}
    assert resolved(Behaviours(plan="per_call")) == {"plan": "per_call"}
    made = resolved(Behaviours(preset="full", result="all"))
    assert made == {**PRESETS["full"], "result": "all"}


def test_arms_are_resolved_into_populations_and_shown():
    scenario, workshop = loads(TEXT), Workshop()
    plans = {c.arm: plan(c, workshop=workshop) for c in cells(scenario)}
    for arm, preset in (("blind", "semantic_blind"), ("full", "full")):
        assert plans[arm].behaviours == PRESETS[preset]
        assert plans[arm].populations[0].behaviours == PRESETS[preset]
    assert plans["plain"].behaviours == {}
    assert list(describe(scenario).behaviours) == ["blind", "full"]
    root = documents.root(scenario, cells(scenario, ["blind", "full"]), ())
    assert root["comparison"]["differs"] == sorted(set(NAMES) - {"memory"})
    changed = scenario.replace({"arm.blind.behaviours.weights": "resident"})
    (made, *_) = cells(changed, ["blind"])
    assert plan(made, workshop=workshop).behaviours["weights"] == "resident"


@pytest.mark.parametrize(
    ("table", "at", "reason"),
    [
        ('{ preset = "semantic_blnd" }', "preset", "did you mean 'semantic_blind'?"),
        ('{ weighs = "resident" }', "weighs", "did you mean 'weights'?"),
        ('{ state = "ship" }', "state", "there is: session, shipped, recomputed"),
        ('{ memory = "tcmalloc" }', "memory", "there is: arena, torch, malloc"),
        ('{ preset = "full_without_vmu" }', "preset", "whose state is in an arena"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(table, at, reason):
    with pytest.raises(ScenarioError) as caught:
        loads(TEXT.replace('{ preset = "full" }', table))
    assert caught.value.path == f"$.arm[1] (full).behaviours.{at}"
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("target", "arm", "at"),
    [
        ('use = "null"', "blind", "weights"),
        ("options = { extensions = false }", "blind", "weights"),
        ("options = { extensions = false }", "full", "result"),
    ],
)
def test_an_arm_that_the_target_cannot_execute_is_refused(target, arm, at):
    scenario = loads(f"{TEXT}[target]\n{target}\n")
    describe(scenario, ["plain"])
    with pytest.raises(ScenarioError, match="cannot execute") as caught:
        describe(scenario, [arm])
    assert caught.value.path.endswith(f"({arm}).behaviours.{at}")


def test_djinn_itself_can_be_asked_for_what_it_does():
    scenario = loads(f"{TEXT}[target]\noptions = {{ extensions = false }}\n")
    done = {"arm.full.behaviours.result": "all"}
    with pytest.raises(ScenarioError, match="plan"):
        describe(scenario.replace(done), ["full"])
    words = {k: EXECUTES[k][0] for k in ("weights", "state", "phases")} | done
    made = {
        "arm.full.behaviours": {
            "result": "all",
            **{k: words[k] for k in words if "." not in k},
        }
    }
    assert describe(scenario.replace(made), ["full"]).behaviours


def proven(words, echoes, evidence=None):
    proof = {
        "settings": words,
        "evidence": evidence or {},
        "echoes": [{"n": 1, "value": {"behaviours": each}} for each in echoes],
    }
    made = cell(population(0), proof=proof)
    return with_fields(made, manifest={**made.manifest, "behaviours": words})


@pytest.mark.parametrize(
    ("echoes", "found"),
    [
        ([{"state": "shipped"}], []),
        ([{"state": "shipped"}, {"state": "none"}], []),
        ([{"state": "session"}], ["UNPROVEN"]),
        ([{"state": "shipped"}, {"state": "session"}], ["UNPROVEN"]),
        ([{"state": "shipped"}, {}], ["UNPROVEN"]),
        ([{}], ["UNPROVEN"]),
        ([], ["UNPROVEN"]),
        ([{"state": "none"}], []),
    ],
)
def test_a_behaviour_needs_proof_without_a_comparison_too(echoes, found):
    assert codes(unproven([proven({"state": "shipped"}, echoes)], None)) == found


def test_the_word_of_the_user_counts():
    word = {"state": {"how": "declared", "value": "shipped"}}
    assert codes(unproven([proven({"state": "shipped"}, [], word)], None)) == []


SHIPPED = {"state": "shipped"}
STATE = Tensor("state/0.key", (1, 1, 1, 1), "float32", bytes(4))


def call(step="prefill", *, last=False, state="kv", behaviours=SHIPPED):
    request = Request("m", {}, step=step, state=state, last=last)
    return Call(request, "p", "s", "", None, 0, behaviours)


def answered(shipping, asked, outputs):
    found = []
    reply = Reply(Outcome.OK, {tensor.name: tensor for tensor in outputs})
    shipping.received(asked, found.append, reply)
    return found[0]


def test_state_is_kept_between_calls_and_not_shown():
    shipping = Shipping(())
    logits = Tensor("logits", (1,), "float32", bytes(4))
    assert shipping.state(call()) == ()
    reply = answered(shipping, call(), [logits, STATE])
    assert dict(reply.outputs) == {"logits": logits}
    assert shipping.state(call("decode")) == (STATE,)
    shipping.end("s")
    with pytest.raises(LocalProtocolError, match="no state yet"):
        shipping.state(call("decode"))


def test_a_server_that_keeps_the_state_to_itself_is_caught():
    reply = answered(Shipping(()), call(), [])
    assert (reply.outcome, "no state back" in reply.error) == (Outcome.ERROR, True)
    assert answered(Shipping(()), call(last=True), []).outcome is Outcome.OK
    assert answered(Shipping(()), call(behaviours={}), [STATE]).outputs


def test_a_server_cannot_say_that_a_behaviour_does_not_apply():
    model = Model("m", "M", {}, "float32", 0)
    none = Reply(Outcome.OK, echo={"behaviours": {"phases": "none", "state": "none"}})
    for state, found in (("kv", Outcome.ERROR), (None, Outcome.OK)):
        asked = call(state=state, behaviours={"phases": "apart"})
        replies = []
        Shipping([model]).received(asked, replies.append, none)
        assert replies[0].outcome is found


def test_shipped_scenarios_name_what_the_reference_server_executes():
    for path in djinnload.scenarios.load.shipped().values():
        for arm in djinnload.load(path).arms:
            for name, word in resolved(arm.behaviours).items():
                assert word in EXECUTES[name]


def test_djinn_itself_is_not_sent_what_it_would_ignore():
    shipping = Shipping(())
    shipping.refuse(call())
    shipping.extended = False
    for words in ({"state": "recomputed"}, {"result": "all", "phases": "apart"}, {}):
        shipping.refuse(call(behaviours=words))
    for words in (SHIPPED, {"plan": "cached"}, PRESETS["semantic_blind"]):
        with pytest.raises(LocalProtocolError, match="Djinn itself cannot execute"):
            shipping.refuse(call(behaviours=words))


def part(index, count=3, name="c", **more):
    return {"part": [index, count], "call": name, **more}


def test_parts_make_a_whole_in_their_order_only():
    parts = Parts(100)
    assert parts.add(part(1), (STATE,), 0) is None
    assert parts.add(part(1, name="d"), (STATE,), 0) is None
    assert parts.add(part(2), (), 0) is None
    assert parts.nbytes == 8
    assert parts.add(part(3), (STATE,), 0) == (STATE, STATE)
    assert parts.nbytes == 4
    with pytest.raises(RequestError, match="part 3 of 3 where 2 of 3 is next"):
        parts.add(part(3, name="d"), (), 0)
    assert parts.nbytes == 0  # what cannot become whole is let go of


@pytest.mark.parametrize(
    "ours",
    [
        {"part": [1, 2]},
        {"part": [1, 2], "call": ""},
        {"part": [1, 2], "call": 3},
        {"part": "1/2", "call": "c"},
        {"part": [True, 2], "call": "c"},
        part(0),
        part(4),
        part(-1),
        part(2),
    ],
)
def test_what_is_no_part_is_refused(ours):
    with pytest.raises(RequestError, match="part"):
        Parts(100).add(ours, (), 0)


def test_parts_are_bounded_and_do_not_stay_for_ever():
    parts = Parts(7)
    parts.add(part(1), (STATE,), 0)
    with pytest.raises(RequestError, match="over 7 bytes"):
        parts.add(part(1, name="d"), (STATE,), 0)
    assert parts.add(part(1, name="d"), (STATE,), STALE_NS + 1) is None
    assert parts.nbytes == 4
