"""`djinnload import`, as a command: what it writes, `check` takes."""

from pathlib import Path

from command_kit import run_command

FILES = Path(__file__).parent.parent / "fixtures" / "legacy"


def test_what_it_writes_passes_check(tmp_path):
    said = run_command(
        "import", FILES / "qos_mix.yaml", "--out", "mix.toml", cwd=tmp_path
    )
    assert said.returncode == 0, said.stderr
    assert "mix.toml: a scenario made of a qos_mix configuration" in said.stdout
    assert "not carried over, nothing read it" in said.stdout
    assert "djinnload check mix.toml" in said.stdout
    checked = run_command("check", "mix.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "qos_mix: 10 cells" in checked.stdout
    again = run_command(
        "import", FILES / "qos_mix.yaml", "--out", "mix.toml", cwd=tmp_path
    )
    assert again.returncode == 2
    assert "mix.toml is there already" in again.stderr


def test_without_out_it_prints_the_scenario(tmp_path):
    said = run_command("import", FILES / "load_sweep.yaml", cwd=tmp_path)
    (tmp_path / "s.toml").write_text(said.stdout, "utf-8")
    assert run_command("check", "s.toml", cwd=tmp_path).returncode == 0


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1", "utf-8")
    for name, reason in (
        ("x.yaml", "no configuration of the original"),
        ("y.yaml", "cannot be read"),
    ):
        said = run_command("import", name, cwd=tmp_path)
        assert said.returncode == 2
        assert reason in said.stderr
