"""What a fold takes of memory, a sample: in a process of its own, as it peaks."""

import subprocess
import sys

from many_rows import write_cell  # tests/, by conftest.py

#: Bytes a sample that a fold of so many may take at its peak. Of the 85 to 90 that it
#: takes some are the heap's gaps: 10 million take 80 each, less than a gigabyte.
MOST = 110
ROWS = 1_500_000
FOLD = """
import re, sys
from pathlib import Path
from djinnload.reading.files import read_json
from djinnload.summary import fold as summary
def peak():
    # Not getrusage's: that begins with what whoever started us had.
    said = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", said)[1]) * 1024
small, large = map(Path, sys.argv[1:])
summary.fold_cell(small)
before = peak()
summary.fold_cell(large)
print(peak() - before)
"""


def test_a_fold_takes_few_bytes_a_sample(tmp_path):
    for name, rows in (("small", ROWS // 10), ("large", ROWS)):
        write_cell(tmp_path / name, rows)
    run = subprocess.run(
        [sys.executable, "-c", FOLD, tmp_path / "small", tmp_path / "large"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < MOST * ROWS
