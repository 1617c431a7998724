"""Agreement: one .onnx in OpenVINO, timed by us, by its own benchmark_app and by a bare loop."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bench import stats
from bench.case import AGAIN
from bench.method.aa import p50_s, pair
from bench.method.experiment import Experiment, ExperimentError, Lab, Outcome, Size
from bench.method.thresholds import markdown
from bench.stats import Estimate
from bench.text import number

OURS, APP, BARE = "bench.run", "benchmark_app", "bare loop"
WITHIN = 0.02
_UNITS = {"ms": 1e-3, "us": 1e-6}
Round = Mapping[str, float]
"""Who measured -> p50 in seconds; we twice, the second time as ``AGAIN``."""

# Texts, not modules: bench imports no runtime, and these are what a stranger would write.
# Both keep OpenVINO's reporter from being imported, as runtimes/ov.py does.
_APP = """\
import sys
sys.modules["openvino_telemetry"] = None
from openvino.tools.benchmark.main import main
main()
"""
_BARE = """\
import sys, time
sys.modules["openvino_telemetry"] = None
import numpy, openvino
path, inputs, threads, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
image = numpy.ascontiguousarray(numpy.load(inputs)[:1])
model = openvino.Core().read_model(path)
model.reshape(list(image.shape))
settings = {
    "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1
}
request = openvino.compile_model(model, "CPU", settings).create_infer_request()
began = time.perf_counter()
while time.perf_counter() < began + 0.5:
    request.infer([image], share_inputs=True)
times = []
began = time.perf_counter()
while time.perf_counter() < began + seconds or len(times) < 6:
    start = time.perf_counter()
    request.infer([image], share_inputs=True)
    times.append(time.perf_counter() - start)
print("Median:", 1000 * sorted(times)[(len(times) - 1) // 2], "ms")
"""


def measure(index: int, lab: Lab) -> Round:
    """A round: everybody once, in a random order of its own."""
    turns = (OURS, AGAIN, APP, BARE)
    order = random.Random(lab.size.seed + index).sample(turns, len(turns))
    return {who: _p50_s(who, index, lab) for who in order}


def _p50_s(who: str, index: int, lab: Lab) -> float:
    case, again = pair(lab.size)
    if who in (OURS, AGAIN):
        return p50_s(lab.block(again if who == AGAIN else case, index))
    artifact = lab.artifact(case)
    if who == APP:
        return _median_s(app_command(artifact.path, artifact.input_size, lab.size))
    inputs = Path(artifact.reference) / "inputs.npy"
    words = (str(artifact.path), str(inputs), str(lab.size.threads), str(lab.size.seconds))
    return _median_s([sys.executable, "-c", _BARE, *words])


def app_command(path: Path, input_size: tuple[int, int], size: Size) -> list[str]:
    """benchmark_app as one would use it for a latency: one stream, one request, fp32."""
    shape = f"[1,3,{input_size[0]},{input_size[1]}]"
    flags = f"-d CPU -api sync -hint none -nstreams 1 -nireq 1 -nthreads {size.threads}"
    seconds = str(max(1, round(size.seconds)))  # it takes whole ones
    words = [*flags.split(), "-infer_precision", "f32", "-shape", shape, "-t", seconds]
    return [sys.executable, "-c", _APP, "-m", str(path), *words]


def _median_s(command: Sequence[str]) -> float:
    """What a child prints as its median. Raises :class:`ExperimentError` if it doesn't."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ExperimentError(f"a child ended with exit code {done.returncode}: {' '.join(last)}")
    return printed_median_s(done.stdout)


def printed_median_s(output: str) -> float:
    """The median latency in seconds that stands in a child's output, in ms or in µs."""
    found = re.search(r"Median:\s+([\d.]+) ([mu]s)\b", output)
    if found is None:
        raise ExperimentError(f"no median in what a child printed: {output[-200:]!r}")
    return float(found[1]) * _UNITS[found[2]]


def ratio(rounds: Sequence[Round], over: str) -> Estimate:
    """Our p50 over that of another one, paired by round."""
    theirs = {place: row[over] for place, row in enumerate(rounds)}
    estimate = stats.ratio_interval({place: row[OURS] for place, row in enumerate(rounds)}, theirs)
    assert estimate is not None
    return estimate


def judge(size: Size, rounds: Sequence[Round]) -> Outcome:
    """Within 2 % of both, or within what the A/A pair leaves open if that is more."""
    del size
    told_apart = stats.told_apart(ratio(rounds, AGAIN))
    smallest = math.inf if told_apart is None else told_apart - 1
    allowed = max(WITHIN, smallest)
    lines = [["p50 by", "ms", "ours over it", "95 %"]]
    for who in (OURS, AGAIN, APP, BARE):
        mean = stats.geometric_estimate([row[who] for row in rounds])
        found = ratio(rounds, who)
        ends = "" if found.low is None else f"{found.low:.4f} to {found.high:.4f}"
        name = f"{OURS}, {AGAIN}" if who == AGAIN else who
        lines.append([name, number(mean, 1e3), f"{found.value:.4f}", "" if who == OURS else ends])
    off = {who: ratio(rounds, who).value - 1 for who in (APP, BARE)}
    parts = " and ".join(f"{value:+.2%} from {who}" for who, value in off.items())
    answer = (
        f"Over {len(rounds)} rounds our p50 is {parts}; by the A/A pair a difference below "
        f"{smallest:.2%} could not have been told from none, so that at most {allowed:.2%} is "
        "allowed."
    )
    return Outcome(answer, all(abs(value) <= allowed for value in off.values()), markdown(lines))


def draw(figure: Any, size: Size, rounds: Sequence[Round]) -> None:
    """Each one's p50 by round."""
    del size
    axes = figure.subplots()
    for who in (OURS, AGAIN, APP, BARE):
        axes.plot([1e3 * row[who] for row in rounds], marker="o", label=who)
    axes.set_xlabel("round")
    axes.set_ylabel("p50, ms")
    axes.legend()


EXPERIMENT = Experiment(
    question="Do we, OpenVINO's `benchmark_app` and a bare loop of twenty lines find the same "
    "median latency for the same .onnx in fp32?",
    line=TypeAdapter(Round),
    defaults=Size(
        pairs=20, blocks=1, seconds=2.0, variants=("xception",), recipe="fp32", runtime="openvino"
    ),
    units=lambda size: size.pairs,
    # Four children a round: imports, reading and compiling of 90 MB, a warm-up, the timed loop.
    expected_s=lambda size: size.pairs * 4 * (2.2 + size.seconds),
    measure=measure,
    judge=judge,
    draw=draw,
)
