"""What options can't be, and which don't go together: each is said before anything runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from bench import host
from bench.options import GIVEN_FLAGS, LISTS, Options, UsageError, flag_of, spends

_MOST_THREADS = 4096
"""Of another machine, whose cores are not known yet."""
_NOT_COMPARED = {
    "single": "what is compared there is our own loop, which is measured anyway",
    "server": "a search for a rate is made once a run and has no interval",
}


def check(options: Options) -> None:
    """Ranges, and what goes together, of completed options; raises :class:`UsageError`."""
    _check_ranges(options)
    _check_bound(options)
    _check_against(options)
    _check_ray(options)


def check_given(values: Mapping[str, Any], options: Options) -> None:
    """What was said in so many words must mean something."""
    for name in ("blocks", "seconds", "samples", "accuracy_images"):
        # 0 means "not given" inside, so that a user's own 0 has to be refused here.
        if name in values and not getattr(options, name) > 0:
            raise UsageError(f"{flag_of(name)} {getattr(options, name):g} is not above 0")
    for name in ("accuracy", "accuracy_images", "folder_order"):
        if name in values and not options.data:
            raise UsageError(f"{flag_of(name)} is about labelled images: it needs --data")
    if options.accuracy == "none" and options.accuracy_images:
        raise UsageError("--accuracy-images is for --accuracy all or sample, not for none")
    for name in GIVEN_FLAGS:
        if name in values and not options.model:
            raise UsageError(f"{flag_of(name)} is about a file of yours: it needs --model")
    _check_budget(values, options)
    for name in ("margin", "markdown"):
        if name in values and not options.against:
            raise UsageError(f"--{name} is about a comparison: it needs --against")
    for name in LISTS:
        if name in values and not getattr(options, name):
            raise UsageError(f"{flag_of(name)} names nothing: leave it out for the usual")


def _check_budget(values: Mapping[str, Any], options: Options) -> None:
    """Without a comparison a budget takes the place of a number of blocks."""
    if "budget" not in values or options.against:
        return
    if not options.budget > 0:
        raise UsageError("--budget 0 leaves no time; leave it out for a fixed number of --blocks")
    if "blocks" in values:
        raise UsageError("--blocks and --budget both say how many blocks there are: leave out one")
    if options.scenarios:
        raise UsageError(
            "--budget is spent on our own loop alone, which would leave one block for --scenarios: "
            "measure these in a run of their own"
        )


def _check_ranges(options: Options) -> None:
    cores = host.usable_cores()
    limits: dict[str, tuple[Iterable[float], float, float]] = {
        "--threads": (options.threads, 1, _MOST_THREADS if options.ray else cores),
        "--batch-sizes": (options.batch_sizes, 1, 1024),
        "--blocks": ([options.blocks], 1, 1000),
        "--seconds": ([options.seconds], 0.01, 3600),
        "--samples": ([options.samples], 1, 1000),
        "--idle-seconds": ([options.idle_seconds or 0.0], 0, 60),
        "--scenario-seconds": ([options.scenario_seconds], 0.1, 3600),
        "--calibration-images": ([options.calibration_images], 1, 10_000),
        "--accuracy-images": ([options.accuracy_images], 0, 10_000_000),
        "--calibration-percentile": ([options.calibration_percentile], 50, 100),
        "--memory-limit": ([options.memory_limit], 0, 1 << 50),
        "--margin": ([options.margin], 0, 0.99),
        "--budget": ([options.budget], 0, 7 * 24 * 3600),
    }
    for flag, (values, low, high) in limits.items():
        for value in values:
            if not low <= value <= high:
                cause = f" (this process may use {cores} cores)" if flag == "--threads" else ""
                raise UsageError(f"{flag} {value:g} is not between {low:g} and {high:g}{cause}")


def _check_bound(options: Options) -> None:
    """A server is searched for the rate that keeps a bound, and nothing else has one."""
    if "server" in options.scenarios and not options.latency_bound > 0:
        raise UsageError(
            "--scenarios server needs --latency-bound: what the p99 latency must stay under, "
            "for instance --latency-bound 50ms"
        )
    if options.latency_bound and "server" not in options.scenarios:
        raise UsageError("--latency-bound is for --scenarios server, which was not asked for")


def _check_against(options: Options) -> None:
    """A scenario that is measured for one version only would look compared and is not."""
    if options.against and options.model:
        raise UsageError(
            "--model can't be had with --against: another version of the code may not know how to "
            "take a given file; measure it with each version and use python -m bench.compare"
        )
    for name, why in _NOT_COMPARED.items():
        if options.against and name in options.scenarios:
            raise UsageError(
                f"--scenarios {name} can't be had with --against: {why}; leave it out here, or "
                "measure each version by itself and set the two pages side by side (of what can be "
                "compared, python -m bench.compare does it)"
            )


def _check_ray(options: Options) -> None:
    """What a fleet can't do, or what is said of one where there is none."""
    if options.prices and not options.ray:
        raise UsageError("--prices is about the machines of a fleet: it needs --ray")
    if not options.ray:
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--ray needs Ray: pip install 'deploybench[ray]'")
    if options.against:
        raise UsageError(
            "--against can't be had with --ray: the other version would have to stand on every "
            "machine; compare versions on one machine"
        )
    if spends(options):
        raise UsageError(
            "--budget can't be had with --ray: each machine has blocks of its own to give; say "
            "--blocks"
        )
