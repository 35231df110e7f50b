"""Control groups as they are found: of version 1, 2 and both, nested, and seen from inside a container."""

import os

import pytest
from machine_tree import V1, V2, machine

from spikeproof.machine.processors import available_processors


def v1(folder, quota, period=100_000):
    return {f"cpu/{folder}/cpu.cfs_quota_us": f"{quota}\n", f"cpu/{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("140000 100000", 1), ("10000 100000", 1), ("max 100000", 8)],
)
def test_a_quota_of_version_2(tmp_path, quota, expected):
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {"cpu.max": quota})
    assert available_processors(root, allowed=8) == expected


def test_the_smallest_on_the_way_up_holds(tmp_path):
    files = {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "500000 100000", "c/cpu.max": "1 2"}
    root = machine(tmp_path, "0::/a/b\n", V2.format(root="/"), files)
    assert available_processors(root, allowed=8) == 3


def test_the_mask_may_be_smaller_than_the_quota(tmp_path):
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {"cpu.max": "300000 100000"})
    assert available_processors(root, allowed=2) == 2


def test_a_quota_of_version_1(tmp_path):
    files = v1("", -1) | v1("jobs", 400_000) | v1("jobs/one", 250_000, 50_000)
    groups = "4:memory:/other\n1:cpu,cpuacct:/jobs/one\n0::/\n"
    root = machine(tmp_path, groups, V1.format(root="/"), files)
    assert available_processors(root, allowed=8) == 4


def test_both_versions_hold(tmp_path):
    mounts = V1.format(root="/") + "\n" + V2.format(root="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = v1("a", 300_000) | {"unified/b/cpu.max": "200000 100000"}
    root = machine(tmp_path, "1:cpu:/a\n0::/b\n", mounts, files)
    assert available_processors(root, allowed=8) == 2


@pytest.mark.parametrize("own", ["/docker/abc", "/docker/abc/", "/../..", "/elsewhere"], ids=str)
def test_a_container_that_sees_its_own_group_alone(tmp_path, own):
    root = machine(tmp_path, f"1:cpu:{own}\n", V1.format(root="/docker/abc"), v1("", 200_000))
    assert available_processors(root, allowed=8) == 2


@pytest.mark.parametrize("content", ["", "nonsense", "100 0", "1 2 3"], ids=repr)
def test_what_cannot_be_read_is_no_quota(tmp_path, content):
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {"cpu.max": content})
    assert available_processors(root, allowed=8) == 8


def test_without_control_groups_the_mask_holds(tmp_path):
    assert available_processors(tmp_path, allowed=8) == 8
    assert available_processors(tmp_path) == len(os.sched_getaffinity(0))
