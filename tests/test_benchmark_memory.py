"""What the benchmarks say a process held."""

import subprocess
import sys

import numpy as np
from benchmarks.memory import peak_mebibytes, resident_mebibytes


def test_the_peak_is_that_of_the_process_alone_and_not_of_the_one_that_started_it():
    held = np.ones(200 * 2**20, np.uint8)
    assert resident_mebibytes() > held.nbytes / 2**20
    script = "from benchmarks.memory import peak_mebibytes; print(peak_mebibytes())"
    child = float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)
    assert 1 < child < held.nbytes / 2**20


def test_the_peak_holds_what_was_given_back():
    before = resident_mebibytes()
    np.ones(150 * 2**20, np.uint8)
    assert peak_mebibytes() >= before + 149
