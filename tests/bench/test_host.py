"""The host's facts, from made-up /proc and /sys trees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import host

CPU = """\
processor : {number}
model name : AMD EPYC
cpu family : 25
model : 17
stepping : 1
physical id : 0
core id : {core}
flags : fpu avx avx2 avx512f avx512_vnni hypervisor
"""
X86 = "\n".join(CPU.format(number=i, core=i // 2) for i in range(4))
ARM = """\
processor : 0
Features : fp asimd asimddp i8mm
CPU implementer : 0x41
CPU part : 0xd40

processor : 1
Features : fp asimd asimddp i8mm
CPU implementer : 0x41
CPU part : 0xd40
"""
MEMINFO = "MemTotal: 24000000 kB\nMemFree: 1 kB\nMemAvailable: 20000000 kB\nHugePages_Total: 0\n"
KIB = 1024


@pytest.fixture
def machine(tmp_path):
    """``machine({path: text})``: the /proc and /sys of a made-up machine."""

    def build(files: Mapping[str, str]) -> tuple[Path, Path]:
        for name in ("proc", "sys"):
            (tmp_path / name).mkdir(exist_ok=True)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc", tmp_path / "sys"

    return build


def test_facts_of_a_virtual_machine(machine) -> None:
    """Every fact in its place and in the order in which it is shown."""
    proc, sys = machine(
        {
            "proc/cpuinfo": X86,
            "proc/meminfo": MEMINFO,
            "proc/sys/kernel/ostype": "Linux\n",
            "proc/sys/kernel/osrelease": "6.1.0\n",
            "sys/class/dmi/id/sys_vendor": "QEMU\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
            "sys/class/powercap/intel-rapl:0/energy_uj": "17\n",
        }
    )
    facts = host.describe(proc, sys, affinity=3)
    python = facts["Python"]
    assert dict(facts) == {
        "CPU": "AMD EPYC (cpu family 25, model 17, stepping 1)",
        "instruction sets": "avx, avx2, avx512f, avx512_vnni",
        "cores": "2",
        "threads per core": "2",
        "usable cores": "3",
        "memory": "25 GB",
        "memory limit": "none",
        "kernel": f"Linux 6.1.0 {os.uname().machine}",
        "Python": python,
        "virtualisation": "QEMU",
        "frequency governor": "performance, powersave",
        "energy counters": "available",
        "hardware counters": "unavailable",
    }
    assert list(facts)[:3] == ["CPU", "instruction sets", "cores"]


def test_facts_of_an_arm_machine(machine) -> None:
    """Arm kernels name features, an implementer and a part, and list no cores."""
    proc, sys = machine({"proc/cpuinfo": ARM})
    facts = host.describe(proc, sys, affinity=2)
    assert facts["CPU"] == "Arm implementer 0x41, part 0xd40"
    assert facts["instruction sets"] == "asimd, asimddp, i8mm"
    assert (facts["cores"], facts["threads per core"]) == ("2", "1")
    assert facts["virtualisation"] == host.UNAVAILABLE


def test_a_host_that_tells_nothing_is_unavailable_not_guessed(machine) -> None:
    """Empty trees give words, no zeros and no errors."""
    proc, sys = machine({})
    facts = host.describe(proc, sys, affinity=1)
    silent = ["CPU", "instruction sets", "cores", "memory", "virtualisation", "frequency governor"]
    silent += ["energy counters", "hardware counters"]
    assert {facts[name] for name in silent} == {host.UNAVAILABLE}
    assert host.available_memory_bytes(proc, sys) is None
    assert host.cpu_times(proc) is None


@pytest.mark.parametrize(
    ("level", "device", "text"),
    [
        ("2", "cpu", "available"),
        ("-1", "cpu_core", "available"),
        ("1", "armv8_pmuv3_0", "available"),
        ("3", "cpu", "unavailable"),
        ("2", "software", "unavailable"),
        (None, "cpu", "unavailable"),
    ],
)
def test_hardware_counters_take_a_unit_and_leave_to_use_it(machine, level, device, text) -> None:
    """A virtual machine often has no PMU, a distribution often keeps it to root."""
    paranoid = {} if level is None else {"proc/sys/kernel/perf_event_paranoid": f"{level}\n"}
    proc, sys = machine({f"sys/bus/event_source/devices/{device}/type": "4\n", **paranoid})
    assert host.describe(proc, sys, affinity=1)["hardware counters"] == text


def test_what_counters_there_are_makes_no_other_host() -> None:
    """Records that don't tell stay those of the same host."""
    facts = {"CPU": "one", "cores": "2"}
    told = {**facts, "energy counters": "available", "hardware counters": "unavailable"}
    assert host.host_id(told) == host.host_id(facts)


def test_bare_metal_is_not_called_virtual(machine) -> None:
    """Without the hypervisor flag there is none, whatever the firmware calls the board."""
    proc, sys = machine(
        {"proc/cpuinfo": X86.replace(" hypervisor", ""), "sys/class/dmi/id/sys_vendor": "Dell"}
    )
    assert host.describe(proc, sys, affinity=1)["virtualisation"] == "none"


def test_host_id_is_of_the_kind_of_machine() -> None:
    """Another CPU, instruction set, core count or memory changes it; a kernel does not."""
    facts = {"CPU": "a", "instruction sets": "avx2", "cores": "2", "memory": "25 GB"}
    same = host.host_id({**facts, "kernel": "6.1", "Python": "3.11"})
    assert same == host.host_id({**facts, "kernel": "6.2"})
    assert len(same) == 12
    for name in facts:
        assert host.host_id({**facts, name: "another"}) != same


V2 = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "affinity", "cores"),
    [
        ({}, 8, 8),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 8, 8),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 8, 2),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 1, 1),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 8, 1),
        (V2 | {"sys/fs/cgroup/a/cpu.max": "300000 100000"}, 8, 3),
        (
            V2
            | {
                "sys/fs/cgroup/a/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
            },
            8,
            3,
        ),
        ({"proc/self/cgroup": "0::/../host", "sys/fs/cgroup/cpu.max": "200000 100000"}, 8, 2),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            8,
            4,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            8,
            8,
        ),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "nonsense"}, 8, 8),
    ],
)
def test_usable_cores_are_the_least_that_anything_grants(machine, files, affinity, cores) -> None:
    """Affinity, and whole cores of the tightest quota of our cgroups, but never none."""
    proc, sys = machine(files)
    assert host.usable_cores(proc, sys, affinity) == cores


def test_a_quota_is_shown(machine) -> None:
    """A reader must see that 2 of the machine's cores are only a share of them."""
    proc, sys = machine(V2 | {"sys/fs/cgroup/a/b/cpu.max": "250000 100000"})
    assert host.describe(proc, sys, affinity=8)["usable cores"] == "2 (cgroup quota 2.5)"


def test_usable_cores_of_this_process() -> None:
    """Without an argument the system is asked."""
    assert 1 <= host.usable_cores() <= (os.cpu_count() or 1)


def test_available_memory_without_limits(machine) -> None:
    """The kernel's own estimate, in bytes."""
    assert host.available_memory_bytes(*machine({"proc/meminfo": MEMINFO})) == 20_000_000 * KIB


@pytest.mark.parametrize(
    "files",
    [
        V2
        | {
            "sys/fs/cgroup/a/memory.max": "4000000000",
            "sys/fs/cgroup/a/memory.current": "3000000000",
            "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 500000000\n",
        },
        V1
        | {
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000000000",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "3000000000",
            "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 500000000\n",
        },
    ],
)
def test_available_memory_is_what_the_cgroup_leaves(machine, files) -> None:
    """Limit less use, where cached pages that are given back on demand are no use."""
    proc, sys = machine(files | {"proc/meminfo": MEMINFO})
    assert host.available_memory_bytes(proc, sys) == 1_500_000_000
    assert host.describe(proc, sys, affinity=1)["memory limit"] == "4.0 GB"


def test_a_child_gets_a_share_of_what_is_free(machine) -> None:
    """Unless told otherwise; 0, which is no limit, where nothing is known."""
    assert host.child_memory_bytes(*machine({})) == 0
    found = host.child_memory_bytes(*machine({"proc/meminfo": MEMINFO}))
    assert found == int(0.9 * 20_000_000 * KIB)


def test_a_limit_above_the_machine_is_none(machine) -> None:
    """Version 1 writes 2^63 where there is no limit."""
    path = "sys/fs/cgroup/memory/a/memory.limit_in_bytes"
    proc, sys = machine(V1 | {"proc/meminfo": MEMINFO, path: "9223372036854771712"})
    assert host.describe(proc, sys, affinity=1)["memory limit"] == "none"
    assert host.available_memory_bytes(proc, sys) == 20_000_000 * KIB


def test_cpu_times_are_those_of_the_first_line(machine) -> None:
    """Busy leaves out idle and waiting; guest time is part of user time and not counted twice."""
    hertz = os.sysconf("SC_CLK_TCK")
    ticks = [hertz * seconds for seconds in (10, 1, 5, 1000, 7, 2, 3, 4, 6, 0)]
    proc, _ = machine({"proc/stat": f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n"})
    assert host.cpu_times(proc) == host.CpuTimes(busy_s=10 + 1 + 5 + 2 + 3, steal_s=4)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3 4", "intr 1 2 3 4 5 6 7 8", "cpu" + 10 * " 0"])
def test_cpu_times_that_mean_nothing_are_none(machine, text) -> None:
    """A sandbox may show an empty file, or one with nothing but zeros."""
    assert host.cpu_times(machine({"proc/stat": text})[0]) is None


def test_versions_are_those_that_are_installed() -> None:
    """In the order asked for; what is missing is left out."""
    found = host.versions(["scipy", "no-such-distribution", "numpy"])
    assert list(found) == ["scipy", "numpy"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    """A git checkout with one commit: a module, results, and an ignored folder."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for path, text in {
        "bench/run.py": "1",
        "results/README.md": "1",
        ".gitignore": "ignored",
        "ignored/x": "1",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*name, "commit", "-qm", "one")):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)
    return tmp_path


def test_commit_of_a_clean_checkout(checkout) -> None:
    """Untracked files and what the run itself writes into results/ do not make it dirty."""
    clean = host.commit(checkout / "bench")
    assert clean.isalnum()
    (checkout / "results/README.md").write_text("2")
    (checkout / "bench/new.py").write_text("2")
    assert host.commit(checkout / "bench") == clean
    (checkout / "bench/run.py").write_text("2")
    assert host.commit(checkout / "bench") == f"{clean}+dirty"


def test_commit_of_what_no_checkout_tracks_is_unknown(checkout, tmp_path_factory) -> None:
    """A wheel in a virtual environment inside a checkout is not of that commit."""
    assert host.commit(checkout / "ignored") == "unknown"
    assert host.commit(tmp_path_factory.mktemp("elsewhere")) == "unknown"
    assert host.commit(checkout / "missing") == "unknown"


def test_commit_ignores_the_git_hook_that_calls_it(checkout, tmp_path_factory, monkeypatch) -> None:
    """A hook points GIT_DIR at its own checkout."""
    clean = host.commit(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("other")))
    assert host.commit(checkout) == clean


def test_commit_without_git_is_unknown(checkout, monkeypatch) -> None:
    """A missing program is no error."""
    monkeypatch.setenv("PATH", "")
    assert host.commit(checkout) == "unknown"
