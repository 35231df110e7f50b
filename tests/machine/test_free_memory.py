"""What is free on a machine and in a container: control groups of version 1 and 2, nested, with a cache that can go."""

import pytest
import torch
from machine_tree import V1_MEMORY, V2, machine

from spikeproof.errors import SpikeproofError
from spikeproof.machine.free_memory import free_bytes

CPU = torch.device("cpu")
GIB = 2**30
NO_LIMIT = 9223372036854771712  # what version 1 says without one


def with_memory(root, available):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n")
    return root


def v1(folder, limit, usage, cache=0):
    names = {"limit_in_bytes": limit, "usage_in_bytes": usage}
    stat = {f"memory/{folder}/memory.stat": f"inactive_file 7\ntotal_inactive_file {cache}\n"}
    return {f"memory/{folder}/memory.{name}": f"{value}\n" for name, value in names.items()} | stat


def v2(folder, limit, usage, cache=0):
    names = {"max": limit, "current": usage, "stat": f"anon 5\ninactive_file {cache}\nactive_file 3"}
    return {f"{folder}/memory.{name}": f"{value}\n" for name, value in names.items()}


@pytest.mark.parametrize(
    ("available", "limit", "usage", "cache", "expected"),
    [
        (20 * GIB, 2 * GIB, GIB // 2, 0, 3 * GIB // 2),
        (20 * GIB, 2 * GIB, GIB, GIB // 4, 5 * GIB // 4),
        (GIB, 8 * GIB, GIB, 0, GIB),
        (20 * GIB, 2 * GIB, 3 * GIB, 0, 0),
    ],
)
def test_the_smaller_of_machine_and_group(tmp_path, available, limit, usage, cache, expected):
    first = machine(tmp_path / "1", "4:memory:/jobs\n", V1_MEMORY.format(root="/"), v1("jobs", limit, usage, cache))
    second = machine(tmp_path / "2", "0::/jobs\n", V2.format(root="/"), v2("jobs", limit, usage, cache))
    assert [free_bytes(CPU, with_memory(root, available)) for root in (first, second)] == [expected, expected]


def test_a_group_above_may_have_less_left(tmp_path):
    one = v1("", NO_LIMIT, 9 * GIB) | v1("a", 4 * GIB, 3 * GIB) | v1("a/b", 3 * GIB, GIB) | v1("c", GIB, GIB)
    root = machine(tmp_path / "1", "4:memory:/a/b\n1:cpu:/c\n", V1_MEMORY.format(root="/"), one)
    assert free_bytes(CPU, with_memory(root, 20 * GIB)) == GIB
    two = v2("a", 4 * GIB, 3 * GIB) | v2("a/b", 3 * GIB, GIB) | v2("c", GIB, GIB)
    root = machine(tmp_path / "2", "0::/a/b\n", V2.format(root="/"), two)
    assert free_bytes(CPU, with_memory(root, 20 * GIB)) == GIB


@pytest.mark.parametrize("limit", ["max", NO_LIMIT, "", "nonsense"], ids=repr)
def test_without_a_limit_the_machine_holds(tmp_path, limit):
    root = machine(tmp_path, "0::/\n4:memory:/\n", V2.format(root="/"), v2(".", limit, GIB))
    assert free_bytes(CPU, with_memory(root, 5 * GIB)) == 5 * GIB


def test_a_container_that_sees_its_own_group_alone(tmp_path):
    root = machine(tmp_path, "4:memory:/docker/abc\n", V1_MEMORY.format(root="/docker/abc"), v1("", 2 * GIB, GIB))
    assert free_bytes(CPU, with_memory(root, 20 * GIB)) == GIB


def test_this_machine_says_what_is_free():
    assert free_bytes(CPU) > 2**20


def test_a_machine_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(SpikeproofError, match="how much memory is free; give microbatch"):
        free_bytes(CPU, tmp_path)
