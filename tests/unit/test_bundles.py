"""A run as one file: the same bytes each time, every byte checked, nothing half packed."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile

import numpy as np
import pyarrow as pa
import pytest

from djinnload.bundles import identity, packing, rerunning
from djinnload.bundles.opening import unpack
from djinnload.bundles.packing import pack
from djinnload.errors import HostError, ScenarioError
from djinnload.reading.files import read_json, write_json
from djinnload.report import runbook
from djinnload.report.exports.formats import export


@pytest.fixture
def whole(synthetic_run):
    """A run directory with all that a run leaves."""
    runbook.write(synthetic_run)
    (synthetic_run / "report.html").write_text("<html>", "utf-8")
    return synthetic_run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, _synthetic_run):
    """The bundle of such a run."""
    folder = tmp_path_factory.mktemp("bundle")
    run = shutil.copytree(_synthetic_run, folder / "run")
    (run / "report.html").write_text("<html>", "utf-8")
    runbook.write(run)
    return pack(run, folder / "run.tar.gz").path


def names(bundle):
    with tarfile.open(bundle) as tar:
        return [each.partition("/")[2] for each in tar.getnames()]


def members(bundle):
    """Name → content of every file in a bundle."""
    with tarfile.open(bundle) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}


def packed(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_the_same_directory_gives_the_same_bytes(whole, tmp_path, suffix):
    (whole / ".hidden").write_text("of an editor", "utf-8")
    first, second = (
        pack(whole, tmp_path / f"{name}{suffix}").path.read_bytes()
        for name in ("a", "b")
    )
    assert first == second
    if suffix == ".tar.gz":
        assert gzip.decompress(first)
        assert first[4:8] == bytes(4)  # no time in it
    found = unpack(tmp_path / f"a{suffix}", tmp_path / "into")
    assert found.about["cells"].keys() == set(read_json(whole / "index.json")["order"])
    kept = {str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file()}
    there = {str(p.relative_to(found.directory)) for p in found.directory.rglob("*") if p.is_file()}  # fmt: skip
    assert kept - there == {".hidden"}
    assert there - kept == {"checksums.sha256", "bundle.json", "requirements.txt", "scenario/scenario.toml"}  # fmt: skip


def test_its_checksums_are_those_of_the_field_s_own_tool(bundle, tmp_path):
    directory = unpack(bundle, tmp_path).directory
    command = [shutil.which("sha256sum"), "--quiet", "-c", "checksums.sha256"]
    subprocess.run(command, cwd=directory, check=True)
    assert names(bundle)[0] == "checksums.sha256"
    assert names(bundle)[1:] == sorted(names(bundle)[1:])


def test_samples_can_be_left_out(whole, tmp_path):
    for kind in ("csv", "parquet"):
        export(whole, kind)
    small = pack(whole, tmp_path / "small.tar.gz", without=("samples",))
    kept = names(small.path)
    assert not [
        name for name in kept if "/samples/" in name or "export/samples." in name
    ]
    assert [name for name in kept if name.endswith("export/summary.csv")]
    about = unpack(small.path, tmp_path).about
    assert about["without"] == ["samples"]
    # What a repeat has to give is known all the same.
    assert about["cells"]["all/qos/r00"]["schedule"]["realtime"]


def damage(path):
    path.write_bytes(path.read_bytes()[:-8])


def shorten(path):
    """Keep whole batches but the last, and close the file: nothing looks torn."""
    with pa.ipc.open_stream(path.read_bytes()) as reader:
        batches, schema = list(reader), reader.schema
    with pa.ipc.new_stream(path, schema) as writer:
        for each in batches[:-1]:
            writer.write_batch(each)


CELL = "cells/all/qos/r00"
SPOILED = [
    ("manifest.json", lambda p: p.unlink(), "holds no manifest.json"),
    ("manifest.json", lambda p: p.write_text("{"), "manifest.json cannot be read"),
    ("manifest.json", lambda p: p.write_text("[]"), "is no table"),
    ("summary.json", lambda p: p.unlink(), "no summary.json; djinnload report"),
    ("RUNBOOK.md", lambda p: p.unlink(), "no RUNBOOK.md; djinnload report"),
    (f"{CELL}/samples/w0-000.arrows", damage, "w0-000.arrows is cut off"),
    (f"{CELL}/samples/w0-000.arrows", shorten, "its samples"),
    (f"{CELL}/samples/w0-000.arrows", lambda p: p.unlink(), "its samples 0"),
    (f"{CELL}/manifest.json", lambda p: p.unlink(), f"holds no {CELL}/manifest.json"),
]


@pytest.mark.parametrize(("name", "spoil", "reason"), SPOILED)
def test_what_is_not_whole_is_refused(whole, tmp_path, name, spoil, reason):
    spoil(whole / name)
    with pytest.raises(ScenarioError) as caught:
        pack(whole, tmp_path / "out.tar.gz")
    assert caught.value.path == str(whole)
    assert reason in caught.value.reason
    assert list(tmp_path.glob("*.tar.gz")) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"complete": False}, "is not complete; djinnload run --resume"),
        ({"interrupted": True}, "was interrupted; djinnload run --resume"),
        ({"complete": False, "error": "no room"}, "broke off (no room)"),
    ],
)
def test_a_run_that_stopped_is_refused(whole, tmp_path, change, reason):
    write_json(whole / "manifest.json", read_json(whole / "manifest.json") | change)
    with pytest.raises(ScenarioError) as caught:
        pack(whole, tmp_path / "out.tar.gz")
    assert reason in caught.value.reason


def test_a_cell_that_is_missing_is_refused(whole, tmp_path):
    index = read_json(whole / "index.json")
    index["cells"][3]["status"] = "missing"
    write_json(whole / "index.json", index)
    with pytest.raises(ScenarioError, match="cell all/fcfs/r01 is missing"):
        pack(whole, tmp_path / "out.tar.gz")


def test_where_it_cannot_be_written_it_says_so(whole, tmp_path):
    with pytest.raises(ScenarioError, match=r"should end in \.tar\.gz"):
        pack(whole, tmp_path / "out.zip")
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot write the bundle"):
        pack(whole, tmp_path / "file" / "out.tar.gz")


def changed(files, name, content):
    (at,) = (each for each in files if each.endswith(f"/{name}"))
    return files | {at: content}


TAMPERED = [
    (lambda f: changed(f, "index.json", b"{}"), "index.json is changed"),
    (lambda f: {k: v for k, v in f.items() if "RUNBOOK" not in k}, "RUNBOOK.md is missing"),
    (lambda f: f | {"run/extra.txt": b"x"}, "extra.txt is added"),
    (lambda f: {k: v for k, v in f.items() if "checksums" not in k}, "holds no checksums.sha256"),
    (lambda _: {"run/checksums.sha256": b""}, "holds no bundle.json"),
    (lambda f: f | {"run/../../evil": b"x"}, "no plain file in a folder"),
    (lambda f: f | {"/run/evil": b"x"}, "no plain file in a folder"),
    (lambda f: f | {"other/file": b"x"}, "2 folders, not one"),
    (lambda _: {}, "0 folders, not one"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "reason"), TAMPERED)
def test_a_bundle_that_is_not_as_it_was_made_is_refused(
    bundle, tmp_path, tamper, reason
):
    files = {f"run/{k.partition('/')[2]}": v for k, v in members(bundle).items()}
    path = packed(tmp_path / "bad.tar.gz", tamper(files))
    (tmp_path / "into").mkdir()
    with pytest.raises(ScenarioError) as caught:
        unpack(path, tmp_path / "into")
    assert reason in caught.value.reason
    assert not (tmp_path / "evil").exists()


def test_what_is_no_bundle_is_refused(bundle, tmp_path):
    with pytest.raises(ScenarioError, match="no such file"):
        unpack(tmp_path / "gone.tar.gz", tmp_path)
    for name, content in (
        ("a.tar.gz", b"no archive"),
        ("b.tar.zst", b"no archive"),
        ("c.tar.gz", bundle.read_bytes()[:-100_000]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ScenarioError, match="is no bundle, or is damaged"):
            unpack(tmp_path / name, tmp_path / name.partition(".")[0])


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("run/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(ScenarioError, match="no plain file"):
        unpack(tmp_path / "links.tar.gz", tmp_path / "into")


def test_the_scenario_s_own_files_go_along(whole, tmp_path):
    beside = tmp_path / "where"
    beside.mkdir()
    (beside / "trace.csv").write_bytes(b"1,2\n")
    sha256 = packing._sha256(b"1,2\n")
    manifest = read_json(whole / "manifest.json")
    manifest["scenario"]["path"] = str(beside / "s.toml")
    write_json(whole / "manifest.json", manifest)
    path = whole / CELL / "manifest.json"
    cell = read_json(path)
    one = {"option": "path", "path": "trace.csv", "nbytes": 4, "sha256": sha256}
    cell["populations"]["chat"]["files"] = [
        one,
        one | {"path": "/elsewhere/big.csv"},
        one | {"path": "../up.csv"},
    ]
    write_json(path, cell)
    made = pack(whole, tmp_path / "a.tar.gz")
    assert made.absent == ("/elsewhere/big.csv", "../up.csv")
    assert "scenario/trace.csv" in names(made.path)
    (beside / "trace.csv").write_bytes(b"1,3\n")
    assert "trace.csv" in pack(whole, tmp_path / "b.tar.gz").absent


# What must be the same


def test_a_schedule_is_when_sessions_were_due(synthetic_cell):
    manifest = read_json(synthetic_cell / "manifest.json")
    found = identity.schedule(synthetic_cell, manifest)
    assert set(found) == {"realtime", "chat"}  # batch is closed: it follows replies
    rows = found["chat"]
    started = manifest["sessions"]["chat"]["started"]
    assert len(rows) == started
    assert (np.diff(rows[:, 1]) > 0).all()
    assert rows[:, 2].min() >= 0
    assert (
        rows[:, 2].max() < manifest["window"]["end_ns"] - manifest["window"]["begin_ns"]
    )


def test_two_runs_of_one_seed_are_the_same_and_of_two_are_not(make_synthetic, tmp_path):
    one, slow, other = (
        make_synthetic.write_run(
            tmp_path / name, repeats=1, seconds=3, fold=False, **how
        )
        for name, how in (("a", {}), ("b", {"slow": 1.3}), ("c", {"seed": 7}))
    )
    same, late, differs = map(identity.identity, (one, slow, other))
    assert identity.first_difference(same, late, (one, slow)) == ""
    said = identity.first_difference(same, differs, (one, other))
    assert said.startswith("schedule of all/qos/r00, population realtime: sha256 ")
    assert said.endswith(" then, 45 now")
    # Without samples it says which, not what.
    bare = shutil.copytree(one, tmp_path / "bare", ignore=lambda *_: ["samples"])
    said = identity.first_difference(same, differs, (bare, other))
    assert said.endswith(" now")
    assert "session" not in said


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([[0, 0, 5], [0, 1, 2_000_001]], "session 1 of user 0 was due at 2 ms then, at 2 ms now, 1 ns apart"),
        ([[0, 0, 5], [0, 2, 2_000_000]], "session 1 of user 0 then, 2 now"),
        ([[0, 0, 5]], "2 sessions then, 1 now"),
    ],
)  # fmt: skip
def test_the_first_session_that_differs_is_named(now, said):
    then = np.array([[0, 0, 5], [0, 1, 2_000_000]])
    assert identity._session(then, np.array(now)) == said


TOLD = {
    "x/y/r00": {
        "schedule": {"a": "1" * 64},
        "inputs": {"a": "2" * 64},
        "weights": {"m": "3" * 64},
    }
}


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        ("inputs", "a", "9" * 64, "inputs of x/y/r00, population a: sha256 222222222222 then, 999999999999 now"),
        ("weights", "m", "9" * 64, "weights of x/y/r00, model m: sha256 333333333333 then"),
        ("schedule", "b", "9" * 64, "population b: sha256 none then"),
        ("weights", "n", "9" * 64, ""),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(tmp_path, kind, name, value, said):
    now = json.loads(json.dumps(TOLD))
    now["x/y/r00"][kind][name] = value
    for run in ("a", "b"):
        write_json(
            tmp_path / run / "cells/x/y/r00/manifest.json", {"window": {"begin_ns": 0}}
        )
    found = identity.first_difference(TOLD, now, (tmp_path / "a", tmp_path / "b"))
    assert said in found
    assert bool(said) == bool(found)


def test_a_cell_of_one_side_is_named(tmp_path):
    said = identity.first_difference(TOLD, {}, (tmp_path, tmp_path))
    assert said == "cell x/y/r00 was measured in the bundle only"
    assert "repeat only" in identity.first_difference({}, TOLD, (tmp_path, tmp_path))


def test_what_nobody_told_is_not_called_the_same():
    found = {"c": {"schedule": {}, "inputs": {"a": "1"}, "weights": {}}}
    assert identity.unknown(found) == ["schedule", "weights"]


def test_versions_that_differ_here_are_listed():
    here = {"python": "2.7", "numpy": rerunning.manifest.versions()["numpy"]}
    (found,) = rerunning.versions({"versions": here})
    assert (found["name"], found["then"]) == ("python", "2.7")
    listed = {"installed": {"gone": "1"}, "versions": {}}
    assert {"name": "gone", "then": "1", "now": None} in rerunning.versions(listed)
