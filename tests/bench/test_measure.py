"""The timed loop and the warm-up, against a clock that the test moves."""

from __future__ import annotations

from bench import measure


class Machine:
    """A fake clock and a fake model that moves it: no test waits."""

    def __init__(self, latencies_ns: list[int]) -> None:
        self.now = 0
        self.latencies = latencies_ns
        self.calls: list[object] = []

    def clock(self) -> int:
        return self.now

    def run(self, image: object) -> None:
        index = min(len(self.calls), len(self.latencies) - 1)
        self.calls.append(image)
        self.now += self.latencies[index]


def test_latencies_are_raw_and_one_for_each_inference() -> None:
    """Every inference gives one integer, in order, nothing trimmed."""
    machine = Machine([5, 7, 900, 11])
    got = measure.timed_loop(machine.run, ["a"], machine.clock, seconds=900e-9)
    assert got == (5, 7, 900)


def test_loop_takes_at_least_the_samples_asked_for() -> None:
    """Time that is up does not end the loop before ``least`` inferences."""
    machine = Machine([1_000_000_000])
    got = measure.timed_loop(machine.run, ["a"], machine.clock, seconds=0.5, least=4)
    assert len(got) == 4


def test_loop_ends_after_a_thousand_inferences() -> None:
    """The cap holds even if time is left."""
    machine = Machine([1])
    got = measure.timed_loop(machine.run, ["a"], machine.clock, seconds=3600)
    assert len(got) == measure.MOST_INFERENCES


def test_inputs_are_taken_in_turn() -> None:
    """Each inference sees the next image, so that no constant input is measured."""
    machine = Machine([10])
    measure.timed_loop(machine.run, ["a", "b", "c"], machine.clock, seconds=45e-9)
    assert machine.calls == ["a", "b", "c", "a", "b"]


def test_a_steady_latency_settles_after_two_windows_and_the_least_time() -> None:
    """Windows of three inferences; the warm-up's length is what it took, to the nanosecond."""
    machine = Machine([100_000_000])
    assert measure.warm_up(machine.run, ["a"], machine.clock) == measure.WarmUp(
        total_ns=600_000_000, inferences=6, settled=True
    )


def test_warm_up_goes_on_until_two_windows_agree() -> None:
    """A latency that still falls by more than 5 % from window to window is not settled."""
    falling = [int(200e6 * 0.9**i) for i in range(12)]
    machine = Machine([*falling, falling[-1]])
    done = measure.warm_up(machine.run, ["a"], machine.clock)
    assert done.settled
    assert done.inferences > len(falling)


def test_warm_up_gives_up_and_says_so() -> None:
    """A latency that never settles ends the warm-up at its limit, marked."""
    swinging = [100_000_000] * 3 + [300_000_000] * 3
    machine = Machine(swinging * 100)
    done = measure.warm_up(machine.run, ["a"], machine.clock)
    assert not done.settled
    assert done.total_ns >= measure.WARMUP_MOST_NS


def test_warm_up_lasts_half_a_second_at_least() -> None:
    """Even a model that is steady from the start is called for 0.5 s."""
    machine = Machine([1_000_000])
    done = measure.warm_up(machine.run, ["a"], machine.clock)
    assert done.total_ns >= measure.WARMUP_LEAST_NS
