"""The child side: numpy and the one adapter. Speaks a few messages over its own pipe.

``load``, ``warm``, ``measure``, ``scenario``, ``infer``, ``picture``, ``classify``, ``explain``,
``close``: each is a JSON object ``{"do": ..., ...}`` and gets one JSON object back. Standard
output and standard error are the libraries' to fill; the parent keeps them in a log.
"""

from __future__ import annotations

import base64
import gc
import io
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runtimes
from bench import host, measure, page_cache
from export.artifact import Artifact, model_files
from export.memory import limit_own
from export.printable import printable

PROTOCOL = 4
"""Raised with every change to a message, an answer, or what ``bench.against`` and ``bench.files``
ask of another version of this code: two versions understand each other by it."""

Message = Mapping[str, Any]
Prepare = Callable[[runtimes.Loaded], runtimes.Loaded]


def as_it_is(loaded: runtimes.Loaded) -> runtimes.Loaded:
    """What is measured unless an experiment on the method puts something around it."""
    return loaded


def main(prepare: Prepare = as_it_is) -> None:
    """Serve the connection whose descriptor is the last word but one, until ``close`` or its end.

    ``prepare`` may put something around what an adapter loaded.
    """
    limit_own(int(sys.argv[-1]))
    connection = Connection(int(sys.argv[-2]))
    session = Session(prepare)
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            break
        if message["do"] == "close":
            break
        connection.send_bytes(json.dumps(answer(session, message)).encode())
    end_at_once()


def end_at_once() -> None:
    """End without the interpreter's clean-up: unloading torch takes a second, for nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def answer(session: Session, message: Message) -> dict[str, Any]:
    """Carry out one message; a failure is an answer too."""
    steps: dict[str, Callable[[Message], dict[str, Any]]] = {
        "load": session.load,
        "warm": session.warm,
        "measure": session.measure,
        "scenario": session.scenario,
        "infer": session.infer,
        "picture": session.picture,
        "classify": session.classify,
        "explain": explain,
    }
    try:
        return steps[message["do"]](message)
    except runtimes.Unsupported as exc:
        return {"status": "unsupported", "reason": _first_line(exc)}
    except MemoryError:
        traceback.print_exc()
        return {"status": "failed", "reason": "out of memory (see --memory-limit)"}
    except Exception as exc:  # a child process begins here: whatever fails is a result
        traceback.print_exc()
        return {"status": "failed", "reason": f"{type(exc).__name__}: {_first_line(exc)}"}


def _first_line(exc: BaseException) -> str:
    """Where it quotes names of the file, none that could steer a terminal."""
    return printable(str(exc).strip().partition("\n")[0])


class Session:
    """One loaded model, its inputs, and what it answered to them. Filled by ``load``."""

    def __init__(self, prepare: Prepare = as_it_is) -> None:
        self.prepare = prepare
        self.loaded: runtimes.Loaded | None = None
        self.inputs = ""
        self.batches: list[NDArray[np.float32]] = []
        self.answers: list[NDArray[np.float32]] = []

    def load(self, message: Message) -> dict[str, Any]:
        """A cold start: import the runtime, read the file, load it, answer the first image.

        Four times that follow one another without a gap, and the whole of them by itself.
        """
        artifact = Artifact.from_plain(message["artifact"])
        files = model_files(Path(artifact.folder))
        images = np.load(message["inputs"], mmap_mode="r")
        first = batches(images, message["batch_size"], most=1)[0]
        resident_share = page_cache.resident_share(files)
        clock = time.perf_counter_ns
        begun = clock()
        adapter = runtimes.adapter(message["runtime"])
        imported = clock()
        imported_bytes = memory_bytes("VmRSS")
        page_cache.read(files)
        read = clock()
        self.loaded = adapter.load(
            artifact,
            threads=message["threads"],
            precision=message["precision"],
            batch_size=message["batch_size"],
        )
        loaded = clock()
        self.loaded = self.prepare(self.loaded)
        self.answers = [np.array(self.loaded.run(first))]
        answered = clock()
        self.inputs = message["inputs"]
        self.batches = batches(images, message["batch_size"])
        return {
            "status": "ok",
            "import_s": (imported - begun) / 1e9,
            "read_s": (read - imported) / 1e9,
            "load_s": (loaded - read) / 1e9,
            "first_s": (answered - loaded) / 1e9,
            "cold_start_s": (answered - begun) / 1e9,
            "resident_share": resident_share,
            "runtime_version": adapter.version(),
            "precision": self.loaded.precision,
            "notes": dict(self.loaded.notes),
            "imported_bytes": imported_bytes,
        }

    def warm(self, message: Message) -> dict[str, Any]:
        """The warm-up. Its answers serve parity: a slow model gives them once."""
        del message
        run, answers, count = self._run, self.answers, len(self.batches)

        def keep(batch: NDArray[np.float32]) -> None:
            output = run(batch)
            if len(answers) < count:
                answers.append(np.array(output))

        # The first batch was answered by the cold start.
        turn = [*self.batches[1:], *self.batches[:1]]
        machine, cpu_s = host.cpu_times(), time.process_time()
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        done = measure.warm_up(keep, turn, time.perf_counter_ns)
        around = _elsewhere(machine, host.cpu_times(), time.process_time() - cpu_s)
        return {
            "status": "ok",
            "warmup_s": done.total_ns / 1e9,
            "warmup_inferences": done.inferences,
            "warmup_settled": done.settled,
            "warmup_foreign_cpu_s": around["foreign_cpu_s"],
            "warmup_steal_s": around["steal_s"],
            "warmup_switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches,
        }

    def measure(self, message: Message) -> dict[str, Any]:
        """The timed loop, with what the process and the machine spent during it."""
        run, inputs = self._run, self.batches
        gc.collect()
        gc.disable()
        watch = _Watch()
        latencies = measure.timed_loop(
            run, inputs, time.perf_counter_ns, message["seconds"], message["least"]
        )
        around = watch.stop()
        gc.enable()
        return {
            "status": "ok",
            "begun_ns": watch.begun_ns,
            "latencies_ns": latencies,
            "cpu_s": watch.cpu_ns / 1e9,
            "idle_cpu_s": _idle_cpu_s(message["idle_s"]),
            "memory": memory(),
            "surroundings": around,
        }

    def scenario(self, message: Message) -> dict[str, Any]:
        """One test by MLPerf's LoadGen: what it says, and what the machine did during it.

        LoadGen's state is global: one test a process.
        """
        from bench import scenarios

        images = [batch[i : i + 1] for batch in self.batches for i in range(len(batch))]
        gc.collect()
        watch = _Watch()
        said = scenarios.run_test(self._run, images, message)
        return {"status": "ok", **said, "surroundings": watch.stop()}

    def infer(self, message: Message) -> dict[str, Any]:
        """Logits for the images in the file ``inputs``, as base64 of a .npy."""
        images = np.load(message["inputs"])
        known = self.answers if message["inputs"] == self.inputs else []
        left = batches(images, len(self.batches[0]))[len(known) :]
        parts = [*known, *(np.array(self._run(batch)) for batch in left)]
        return {"status": "ok", "outputs": packed(np.concatenate(parts)[: len(images)])}

    def picture(self, message: Message) -> dict[str, Any]:
        """What the loaded model answers to one picture, which is warmed up and timed from now on.

        ``pixels`` is base64 of a .npy, float32 and prepared as ``inputs`` are, one image: no
        file holds it, and this process needs no Pillow, which would count as its memory.
        """
        raw = io.BytesIO(base64.b64decode(message["pixels"]))
        batch = np.ascontiguousarray(np.load(raw, allow_pickle=False))
        output = np.array(self._run(batch))
        self.inputs, self.batches, self.answers = "", [batch], [output]
        return {"status": "ok", "outputs": packed(output)}

    def classify(self, message: Message) -> dict[str, Any]:
        """What the loaded model takes labelled images for, in batches of the case's size.

        ``pixels`` is a .npy of uint8 (N, height, width, 3), of which the first
        ``len(labels)`` are asked about; ``preprocess`` says how they go on. The model's
        output number ``columns[i]`` is class ``i`` of the labels. The answer's
        ``predicted`` and ``ranks`` are those of ``bench.record.Answers``.
        """
        # Brings Pillow with it, which a child that is only timed can do without.
        from export.images import Preprocess

        preprocess = Preprocess.from_json(message["preprocess"])
        pixels = np.load(message["pixels"], mmap_mode="r")
        columns, labels = message["columns"], np.array(message["labels"])
        predicted: list[int] = []
        ranks: list[int] = []
        for pick in picks(len(labels), len(self.batches[0])):
            outputs = np.asarray(self._run(preprocess.normalised(pixels[pick])))
            wrong = _wrong(outputs, (len(pick), len(columns)))
            if wrong:
                return {"status": "failed", "reason": f"image {len(ranks)} and on: {wrong}"}
            # The last batch was filled up with the first images: they were asked about already.
            new = pick[: len(labels) - len(ranks)]
            best, ahead = ranked(outputs[: len(new), columns], labels[new])
            predicted += best
            ranks += ahead
        return {"status": "ok", "predicted": predicted, "ranks": ranks}

    @property
    def _run(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        if self.loaded is None:
            raise RuntimeError("nothing is loaded: the first message must be load")
        return self.loaded.run


class _Watch:
    """What this process and the machine spend from now until it is stopped.

    The process's own clocks are read last before and first behind: the rest takes longer.
    """

    def __init__(self) -> None:
        self._machine = host.cpu_times()
        self._switches = resource.getrusage(resource.RUSAGE_SELF)
        self._outside = _other_clocks()
        self.cpu_ns = 0
        self._cpu_begun_ns, self.begun_ns = time.process_time_ns(), time.perf_counter_ns()

    def stop(self) -> dict[str, float | None]:
        """The fields of ``bench.record.Surroundings``; ``cpu_ns`` is known from now on."""
        wall_ns = time.perf_counter_ns() - self.begun_ns
        self.cpu_ns = time.process_time_ns() - self._cpu_begun_ns
        outside = {name: now - self._outside[name] for name, now in _other_clocks().items()}
        switches = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "wall_s": wall_ns / 1e9,
            **outside,
            **_elsewhere(self._machine, host.cpu_times(), self.cpu_ns / 1e9),
            "involuntary_switches": switches.ru_nivcsw - self._switches.ru_nivcsw,
            "voluntary_switches": switches.ru_nvcsw - self._switches.ru_nvcsw,
        }


def explain(message: Message) -> dict[str, Any]:
    """What the runtime made of a file; of nothing that is loaded here, and not in its child."""
    adapter = runtimes.adapter(message["runtime"])
    if not isinstance(adapter, runtimes.Explains):
        raise runtimes.Unsupported(f"{message['runtime']} does not tell what it made of a file")
    images = np.load(message["inputs"], mmap_mode="r")
    found = adapter.explain(
        Artifact.from_plain(message["artifact"]),
        threads=message["threads"],
        precision=message["precision"],
        batch_size=message["batch_size"],
        inputs=batches(images, message["batch_size"], most=1)[0],
    )
    return {"status": "ok", "execution": dict(found)}


def packed(array: NDArray[Any]) -> str:
    """An array as it goes through a pipe: base64 of a .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode()


def batches(
    images: NDArray[np.float32], size: int, most: int | None = None
) -> list[NDArray[np.float32]]:
    """``images`` (N, 3, H, W) as contiguous batches of ``size``; the last wraps around.

    Only the first ``most`` batches where that is given.
    """
    return [np.ascontiguousarray(images[pick]) for pick in picks(len(images), size)[:most]]


def picks(count: int, size: int) -> list[list[int]]:
    """The numbers below ``count`` in batches of ``size``; the last wraps around."""
    return [[(start + i) % count for i in range(size)] for start in range(0, count, size)]


def ranked(
    outputs: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[list[int], list[int]]:
    """The class of the largest of each image's outputs, and how many are ahead of the true one.

    ``outputs`` (N, classes), ``labels`` (N,). Of equal outputs the lower number is ahead.
    """
    true = outputs[np.arange(len(labels)), labels][:, None]
    before = np.arange(outputs.shape[1]) < labels[:, None]
    ahead = (outputs > true) | ((outputs == true) & before)
    return outputs.argmax(axis=1).tolist(), ahead.sum(axis=1).tolist()


def _wrong(outputs: NDArray[np.floating], shape: tuple[int, int]) -> str:
    """Why no class can be read from a batch of outputs; empty: nothing is wrong."""
    if outputs.shape != shape:
        return f"outputs of shape {outputs.shape}, where {shape} was asked for"
    if np.isnan(outputs).any():
        return "NaN (not a number) among the outputs: no class is the largest"
    return ""


def memory_bytes(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS, VmHWM."""
    return _kilobytes("status")[field]


def memory() -> dict[str, int | None]:
    """Resident bytes now and at most, by what stands behind them; see ``bench.record.Memory``."""
    now = _kilobytes("status")
    maps = _kilobytes("smaps_rollup")
    clean = ("Shared_Clean", "Private_Clean")
    return {
        "steady_bytes": now["VmRSS"],
        "peak_bytes": now["VmHWM"],
        "anonymous_bytes": now.get("RssAnon"),
        "file_bytes": now["RssFile"] + now["RssShmem"] if "RssFile" in now else None,
        "shareable_bytes": sum(maps[name] for name in clean) if maps else None,
    }


def _kilobytes(file: str) -> dict[str, int]:
    """The lines of a file in /proc/self that count in kB, as bytes; empty where it is missing."""
    try:
        lines = Path("/proc/self", file).read_text().splitlines()
    except FileNotFoundError:
        return {}
    rows = [line.split() for line in lines if line.endswith(" kB")]
    # The first line of smaps_rollup is an address range and doesn't end so.
    return {row[0].removesuffix(":"): int(row[1]) * 1024 for row in rows}


def _other_clocks() -> dict[str, float]:
    """Clocks that a jump moves and that perf_counter doesn't follow, in seconds."""
    clocks = {"realtime_s": time.CLOCK_REALTIME}
    if hasattr(time, "CLOCK_BOOTTIME"):
        clocks["boottime_s"] = time.CLOCK_BOOTTIME
    return {name: time.clock_gettime_ns(clock) / 1e9 for name, clock in clocks.items()}


def _idle_cpu_s(seconds: float) -> float | None:
    """CPU time that this process uses while it only sleeps: what a pool spins away."""
    if not seconds:
        return None
    before = time.process_time_ns()
    time.sleep(seconds)
    return (time.process_time_ns() - before) / 1e9


def _elsewhere(before: Any, after: Any, own_s: float) -> dict[str, float | None]:
    """CPU seconds that other processes used, and that the hypervisor kept."""
    if before is None or after is None:
        return {"foreign_cpu_s": None, "steal_s": None}
    return {
        "foreign_cpu_s": max(0.0, after.busy_s - before.busy_s - own_s),
        "steal_s": after.steal_s - before.steal_s,
    }


if __name__ == "__main__":
    main()
