"""Statistical tests that compile more than they compute, in processes that leave optimisations out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = 6
COMMAND = (sys.executable, "-m", "pytest", "-q", "-m", "statistical", "-p", "no:cacheprovider", "--durations=15")


@pytest.mark.statistical
@pytest.mark.parametrize("part", range(PARTS))
def test_what_compiles_for_long(part):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=environment | {"TESTS_PART": f"{part}/{PARTS}"}, capture_output=True, text=True
    )
    print(done.stdout)  # how many tests they were
    assert done.returncode == 0, done.stdout + done.stderr
