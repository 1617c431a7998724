"""What the measuring machine is: CPU, limits, versions, and what else it is doing.

Linux tells most of this in files. Their roots are arguments, so that a test
can show this module any machine. What cannot be told is "unavailable", never
a guess.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SYS = Path("/sys")
UNAVAILABLE = "unavailable"
INSTRUCTION_SETS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)
"""As the kernel spells them: those that decide which inference kernels run."""
CANARY_TURNS = 9
_CHILD_SHARE = 0.9
_MOST_PARANOID = 2
"""perf_event_paranoid up to which a process of any user may count its own events; see
the kernel's Documentation/admin-guide/sysctl/kernel.rst."""
_IDENTIFYING = ("CPU", "instruction sets", "cores", "memory")


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds of the whole machine since it started; ``steal_s`` is what the
    hypervisor gave to others while something here wanted to run."""

    busy_s: float
    steal_s: float


def describe(proc: Path = PROC, sys: Path = SYS, affinity: int | None = None) -> Mapping[str, str]:
    """Facts about this host, name -> text, in the order in which they are shown.

    ``affinity`` is how many CPUs this process may run on (default: as asked
    of the system).
    """
    cpus = _cpuinfo(proc)
    return {
        "CPU": _cpu_model(cpus),
        "instruction sets": ", ".join(_instruction_sets(cpus)) or UNAVAILABLE,
        **_core_counts(cpus),
        "usable cores": _usable_cores_text(proc, sys, affinity),
        "memory": _gigabytes(_meminfo(proc).get("MemTotal")),
        "memory limit": _memory_limit_text(proc, sys),
        "kernel": _kernel(proc),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "virtualisation": _virtualisation(cpus, sys),
        "frequency governor": _governors(sys),
        "energy counters": _told(_energy_counters(sys)),
        "hardware counters": _told(_hardware_counters(proc, sys)),
    }


def host_id(facts: Mapping[str, str]) -> str:
    """Twelve hex digits for the kind of host: CPU model, instruction sets, cores, memory.

    Two machines of one kind share it; a new kernel or Python does not change it. What somebody
    calls the kind ("kind") is a part of it.
    """
    named = [name for name in ("kind",) if name in facts]
    text = "\n".join(f"{name}={facts.get(name, UNAVAILABLE)}" for name in (*_IDENTIFYING, *named))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def usable_cores(proc: Path = PROC, sys: Path = SYS, affinity: int | None = None) -> int:
    """How many threads can run at once: affinity, and whole cores of the cgroup's quota.

    A quota of 1.5 cores counts as one: two threads would be throttled.
    """
    allowed = _affinity() if affinity is None else affinity
    quota = _cpu_quota(proc, sys)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def available_memory_bytes(proc: Path = PROC, sys: Path = SYS) -> int | None:
    """What can still be allocated, by the machine and by its cgroups; ``None``: unknown."""
    machine = _meminfo(proc).get("MemAvailable")
    groups = [limit - used for limit, used in _memory_limits(proc, sys)]
    known = ([] if machine is None else [machine]) + groups
    return max(0, min(known)) if known else None


def child_memory_bytes(proc: Path = PROC, sys: Path = SYS) -> int:
    """What one child may allocate unless told otherwise, of what is free; 0: unknown."""
    return int(_CHILD_SHARE * (available_memory_bytes(proc, sys) or 0))


def cpu_times(proc: Path = PROC) -> CpuTimes | None:
    """Busy and stolen CPU seconds of the whole machine; ``None`` where it cannot tell.

    From the first line of ``/proc/stat``: user, nice, system, idle, iowait,
    irq, softirq, steal (guest time is part of user time). See proc(5).
    """
    words = _text(proc / "stat").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    ticks = [int(word) for word in words[1:]]
    if not any(ticks):  # some sandboxes show the file, with nothing but zeros in it
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    busy = sum(ticks[:3]) + sum(ticks[5:7])
    return CpuTimes(busy / hertz, ticks[7] / hertz)


def canary_s(clock: Callable[[], float]) -> float:
    """Seconds that a fixed piece of work takes: hash 4 MiB on one core and copy 16 MiB.

    The middle of several turns. It reads nothing and waits for nothing, so that
    whatever changes it changes what is measured, too: the clock rate, a
    neighbour on the same core or on the memory.
    """
    source = b"\x5a" * (4 << 20)  # not zeros, which the kernel may keep in one page for all
    target = bytearray(len(source))
    spent = []
    for _ in range(CANARY_TURNS):
        begun = clock()
        hashlib.sha256(source)
        for _ in range(4):
            target[:] = source
        spent.append(clock() - begun)
    return sorted(spent)[len(spent) // 2]


def versions(distributions: Iterable[str]) -> Mapping[str, str]:
    """Distribution -> installed version, in the order given; what is missing is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> str:
    """Short hash of the checkout that ``folder`` belongs to.

    "+dirty" is added where tracked files differ outside ``results/`` (a run
    writes there itself); "unknown" outside a checkout, without git, and in a
    folder that a checkout does not track (a virtual environment inside it).
    """
    head = git(folder, "rev-parse", "--short", "HEAD")
    if not head or not git(folder, "ls-files", "--", "."):
        return "unknown"
    changes = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    return f"{head}+dirty" if git(folder, *changes) else head


def git(folder: Path, *arguments: str) -> str:
    """What git answers about ``folder``; nothing where it refuses or is missing."""
    # A git hook that calls us points these at another checkout.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(path: Path) -> str:
    """A small file's text; empty where there is none to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(proc: Path) -> list[dict[str, str]]:
    """One dict per logical CPU."""
    blocks = _text(proc / "cpuinfo").split("\n\n")
    parsed = [_fields(block) for block in blocks]
    return [fields for fields in parsed if "processor" in fields]


def _fields(block: str) -> dict[str, str]:
    """``name : value`` lines as a dict."""
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _cpu_model(cpus: list[dict[str, str]]) -> str:
    """The name, and the numbers behind it: on a virtual machine the name is often vague."""
    first = cpus[0] if cpus else {}
    if "model name" in first:
        numbers = [f"{k} {first[k]}" for k in ("cpu family", "model", "stepping") if k in first]
        return f"{first['model name']} ({', '.join(numbers)})" if numbers else first["model name"]
    if "CPU part" in first:
        return f"Arm implementer {first.get('CPU implementer', '?')}, part {first['CPU part']}"
    return UNAVAILABLE


def _instruction_sets(cpus: list[dict[str, str]]) -> list[str]:
    """Those of interest that the first CPU has."""
    first = cpus[0] if cpus else {}
    flags = (first.get("flags") or first.get("Features", "")).split()
    return [name for name in INSTRUCTION_SETS if name in flags]


def _core_counts(cpus: list[dict[str, str]]) -> dict[str, str]:
    """Cores and threads per core; Arm kernels do not list cores, each CPU counts as one."""
    if not cpus:
        return {"cores": UNAVAILABLE, "threads per core": UNAVAILABLE}
    cores = {(cpu.get("physical id", "0"), cpu.get("core id", cpu["processor"])) for cpu in cpus}
    return {"cores": str(len(cores)), "threads per core": f"{len(cpus) / len(cores):g}"}


def _affinity() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _usable_cores_text(proc: Path, sys: Path, affinity: int | None) -> str:
    """The number of usable cores, and the quota where that is what limits it."""
    quota = _cpu_quota(proc, sys)
    count = str(usable_cores(proc, sys, affinity))
    return count if quota is None else f"{count} (cgroup quota {quota:g})"


def _cgroups(proc: Path, sys: Path, controller: str) -> Iterator[Path]:
    """The folders of our cgroup and of those above it, that limit ``controller``.

    Inside a container the path that /proc shows is often the host's and does
    not exist here; the root of the mount is then our own group.
    """
    root = sys / "fs" / "cgroup"
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mounts = (root / names, root / controller) if names else (root, root / "unified")
        mount = next((place for place in mounts if place.is_dir()), None)
        if mount is None:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder


def _number(path: Path) -> int | None:
    """The integer that stands in a file; ``None`` for anything else, "max" included."""
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _cpu_quota(proc: Path, sys: Path) -> float | None:
    """Cores' worth of CPU time that the tightest cgroup grants; ``None``: no limit."""
    quotas = []
    for folder in _cgroups(proc, sys, "cpu"):
        # Version 2 has both numbers in one file; "max" and -1 are no limit.
        words = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and all(word.isdigit() for word in words):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _memory_limits(proc: Path, sys: Path) -> list[tuple[int, int]]:
    """(limit, used) in bytes of each cgroup that allows less than the machine has.

    Cached file pages count as used but are given back on demand: left out.
    """
    total = _meminfo(proc).get("MemTotal")
    found = []
    for folder in _cgroups(proc, sys, "memory"):
        statistics = dict(
            line.split() for line in _text(folder / "memory.stat").splitlines() if " " in line
        )
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed = _number(folder / limit)
            if allowed is None or (total is not None and allowed >= total):
                continue
            used = (_number(folder / usage) or 0) - int(statistics.get(cache, 0))
            found.append((allowed, used))
    return found


def _memory_limit_text(proc: Path, sys: Path) -> str:
    """The tightest limit of our cgroups."""
    limits = [limit for limit, _ in _memory_limits(proc, sys)]
    return _gigabytes(min(limits)) if limits else "none"


def _meminfo(proc: Path) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    found = {}
    for name, value in _fields(_text(proc / "meminfo")).items():
        number, _, unit = value.partition(" ")
        if number.isdigit() and unit == "kB":  # the kernel's kB is 1024 bytes
            found[name] = int(number) * 1024
    return found


def _gigabytes(size: int | None) -> str:
    """Whole GB of 10^9 bytes: the kernel's own share makes further digits differ by boot."""
    if size is None:
        return UNAVAILABLE
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"


def _kernel(proc: Path) -> str:
    """System, release and machine."""
    system = _text(proc / "sys" / "kernel" / "ostype") or platform.system()
    release = _text(proc / "sys" / "kernel" / "osrelease") or platform.release()
    return f"{system} {release} {platform.machine()}"


def _virtualisation(cpus: list[dict[str, str]], sys: Path) -> str:
    """Whose virtual machine this is; Arm kernels do not tell whether it is one."""
    if not cpus or "flags" not in cpus[0]:
        return UNAVAILABLE
    if "hypervisor" not in cpus[0]["flags"].split():
        return "none"
    dmi = sys / "class" / "dmi" / "id"
    names = (_text(dmi / "sys_vendor"), _text(dmi / "product_name"))
    return " ".join(name for name in names if name) or "virtual machine of an unknown kind"


def _governors(sys: Path) -> str:
    """The frequency governors in use; virtual machines seldom show one."""
    files = (sys / "devices" / "system" / "cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({_text(file) for file in files} - {""})) or UNAVAILABLE


def _told(available: bool) -> str:
    return "available" if available else UNAVAILABLE


def _energy_counters(sys: Path) -> bool:
    """Whether a RAPL counter can be read; many kernels let only root do so."""
    counters = (sys / "class" / "powercap").glob("*/energy_uj")
    return any(_number(counter) is not None for counter in counters)


def _hardware_counters(proc: Path, sys: Path) -> bool:
    """Whether there is a PMU (of hybrid CPUs one a kind) that any user may count with."""
    level = _number(proc / "sys" / "kernel" / "perf_event_paranoid")
    devices = sys / "bus" / "event_source" / "devices"
    found = (place for name in ("cpu", "cpu_*", "armv*_pmu*") for place in devices.glob(name))
    return level is not None and level <= _MOST_PARANOID and any(found)
