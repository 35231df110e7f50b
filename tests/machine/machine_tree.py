"""Made-up trees of /proc and /sys, as machines and containers have them."""

V1 = "32 31 0:29 {root} /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V2 = "42 31 0:39 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"""


def machine(root, groups, mounts, files):
    """What /proc/self/cgroup and /proc/self/mountinfo say, and files of /sys/fs/cgroup with their contents."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(f"{OTHERS}\n{mounts}\n")
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root
