"""Completions, asked for by the real shells with the scripts that we print."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: What is typed, and what it can become.
ASKED = {
    "rep": {"report"},
    "run qu": {"quick"},
    "check my": {"my_own.toml"},
    "run my_own.toml --arm f": {"fast"},
    "run quick --accept LA": {"LATE"},
    "workloads ech": {"echo"},
    "models gpt2-t": {"gpt2-tiny"},
    "report results/": {"results/mine/20260101T000000Z-0000"},
    "run quick --dur": {"--duration"},
    "serve --policy f": {"fcfs"},
    "check my_own.toml --set population.chat.arrival.": {
        "population.chat.arrival.process=",
        "population.chat.arrival.rate=",
    },
}
SCENARIO = """
[scenario]
name = "own"
duration = "1s"
[[population]]
name = "chat"
arrival = { process = "constant", rate = "100/s" }
workload = { use = "echo" }
[[arm]]
name = "fast"
[[arm]]
name = "slow"
"""
SCRIPT = 'eval "$(djinnload completions %s)"'
# Each asks for every line of words that it is given, and prints END after what it found.
BASH = f"""
{SCRIPT % "bash"}
for typed; do
  COMP_WORDS=(djinnload $typed); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
  _djinnload_completion djinnload 2>/dev/null
  printf '%s\n' "${{COMPREPLY[@]}}" END
done
"""
# Outside its line editor zsh has none of these; what they are given is what was found.
ZSH = f"""
compdef() {{ }}
compadd() {{ print -rl -- $completions }}
_describe() {{ print -rl -- ${{completions_with_descriptions%%:*}} }}
{SCRIPT % "zsh"}
for typed; do
  words=(djinnload $=typed); CURRENT=$#words
  _djinnload_completion
  print END
done
"""
FISH = """
djinnload completions fish | source
for typed in $argv
  complete -C "djinnload $typed"
  echo END
end
"""
SHELLS = {
    "bash": ["bash", "--norc", "-c", BASH, "bash"],
    "zsh": ["zsh", "-f", "-c", ZSH, "zsh"],
    "fish": ["fish", "--no-config", "-c", FISH],
}


@pytest.fixture
def cwd(tmp_path):
    (tmp_path / "my_own.toml").write_text(SCENARIO)
    run = tmp_path / "results/mine/20260101T000000Z-0000"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    return tmp_path


def environment(cwd):
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(cwd),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell, cwd):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [*SHELLS[shell], *ASKED],
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # fish shows a name and, after a tab, what it is.
    lines = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    found = {}
    for typed in ASKED:
        end = lines.index("END")
        found[typed], lines = set(lines[:end]) - {""}, lines[end + 1 :]
    assert found == ASKED, done.stderr


def test_the_key_itself_in_bash(cwd):
    """Typed at a terminal, the word is completed on the line."""
    (cwd / ".bashrc").write_text("PS1='$ '\n" + SCRIPT % "bash" + "\necho ready\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        rc = ["bash", "--rcfile", ".bashrc", "-i"]
        os.execvpe("bash", rc, environment(cwd))  # noqa: S606, S607
    try:
        assert "ready" in until("ready", terminal)
        os.write(terminal, b"djinnload workloads ech\t")
        assert "workloads echo " in until("workloads echo ", terminal)
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(child, 0)


def until(wanted, terminal, seconds=30.0):
    """Read what a terminal shows until *wanted* is there, or *seconds* are over."""
    shown, end = "", time.monotonic() + seconds
    while wanted not in shown and (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
