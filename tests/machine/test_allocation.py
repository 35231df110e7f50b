"""The command line keeps memory for the next step; nobody else's process is touched."""

import os
import subprocess
import sys

import pytest

# How many pages of 4 KiB the second of two equal blocks of 64 MiB costs.
PAGES = """
import os, resource
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = b"x" * 2**26
del first
before = pages()
second = b"x" * 2**26
print(pages() - before, os.environ.get("MALLOC_MMAP_MAX_"))
"""
KEEP = "from spikeproof.machine.allocation import keep_memory; import os; keep_memory(os.environ)"


def python(program, **named):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | named)
    pages, told = done.stdout.split()
    return int(pages), told


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_that_was_freed_is_used_again():
    assert python(PAGES)[0] > 10_000
    pages, told = python(f"{KEEP}\n{PAGES}")
    assert pages < 1_000 and told == "0"
    assert python(PAGES, MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**31 - 1))[0] < 1_000  # as a child has it


@pytest.mark.parametrize("named", [{"MALLOC_ARENA_MAX": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}], ids=str)
def test_what_the_user_named_stays(named):
    assert python(f"{KEEP}\nprint(0, os.environ.get('MALLOC_MMAP_MAX_'))", **named)[1] == "None"


@pytest.mark.thorough
def test_a_process_that_has_torch_already_is_left_alone():
    assert python(f"import torch\n{KEEP}\nprint(0, os.environ.get('MALLOC_MMAP_MAX_'))")[1] == "None"
