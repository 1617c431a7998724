"""Plots of time, as values: dots by runtime and recipe, distributions, threads and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench import rows, time_plots
from bench.case import AGAIN, Case
from bench.figure import Figure
from bench.record import Measurement, Peaks, Run, Surroundings
from export.artifact import LayerWork
from tests.bench.made_up import header, measured

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = Case("vgg19", "fp32", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
GAP = Case("vgg19-gap", "fp32", "ort", 2)
PEAKS = Peaks(2, {"fp32": 1e12}, 1e10)
LAYER = LayerWork("a", 10**9, 4000, 4000)


def figure(make: Callable[..., Figure], *blocks: Measurement, **changes: object) -> Figure:
    """Of a run of these blocks."""
    run = Run(header(**changes), blocks)
    return make(run.header, rows.tables_of(run))


def invalid(blocks: list[Measurement]) -> list[Measurement]:
    """The same, beside somebody who kept a core busy."""
    return [replace(one, surroundings=Surroundings(1.0, 0.9, 0.0, 0, 0)) for one in blocks]


def working(blocks: list[Measurement]) -> list[Measurement]:
    """Of a file that was taken apart: a thousand million multiply-accumulates."""
    return [replace(one, file=replace(one.file, layers=(LAYER,))) for one in blocks if one.file]


def test_a_line_for_each_recipe_and_runtime_and_a_shape_for_each_variant() -> None:
    """By runtime first; variants on one line stand a little apart; second names are left out."""
    blocks = [
        *measured(EAGER, 100),
        *measured(STATIC, 20),
        *measured(ORT, 60),
        *measured(GAP, 30),
        *measured(replace(EAGER, copy=AGAIN), 100),
    ]
    ((panel,),) = figure(time_plots.times, *blocks).rows
    assert panel.names == ("fp32 torch-eager", "fp32 ort", "int8-static ort")
    vgg, gap = panel.series
    assert (vgg.name, vgg.place, gap.name, gap.place) == ("vgg19", 0, "vgg19-gap", 1)
    assert [mark.x.value for mark in vgg.marks] == [100.0, 60.0, 20.0]
    assert [round(mark.y.value) for mark in (*vgg.marks, *gap.marks)] == [0, 1, 2, 1]
    assert vgg.marks[1].y.value < gap.marks[0].y.value
    assert panel.x.log


def test_a_dot_has_the_interval_of_the_table_and_is_hollow_if_it_can_not_be_believed() -> None:
    """Three blocks give one; an INVALID row is no candidate."""
    blocks = [*measured(ORT, 60, 61, 59), *invalid(measured(STATIC, 50))]
    found = figure(time_plots.times, *blocks)
    ((panel,),) = found.rows
    right, wrong = panel.marks
    assert right.x.low is not None and right.x.high is not None
    assert right.x.low < 60 < right.x.high
    assert not right.hollow and wrong.hollow and wrong.x.low is None
    assert not panel.x.log
    assert any(text.startswith("Hollow") for text in found.footer)


def test_the_share_of_the_attainable_stands_beside_in_the_same_lines() -> None:
    """A millisecond at the peak over 10 measured is 10 %; 100 % is a line."""
    blocks = [*working(measured(ORT, 10)), *working(measured(GAP, 5)), *measured(STATIC, 5)]
    ((left, right),) = figure(time_plots.times, *blocks, peaks=(PEAKS,)).rows
    assert right.names == left.names
    assert [mark.x.value for mark in right.marks] == pytest.approx([10.0, 20.0])
    assert [one.place for one in right.series] == [one.place for one in left.series]
    assert right.lines[0].points == ((100.0, -0.5), (100.0, 1.5))


def test_only_rows_at_the_main_setting_are_dots() -> None:
    """A sweep of threads is another plot."""
    four = replace(ORT, threads=4)
    ((panel,),) = figure(
        time_plots.times, *measured(ORT, 60), *measured(STATIC, 20), *measured(four, 30)
    ).rows
    assert [mark.x.value for mark in panel.marks] == [60.0, 20.0]


@pytest.mark.parametrize("count", [1, 7, 100, 1234])
def test_points_of_a_distribution_are_exact(count: int) -> None:
    """Each is a sample with the share of samples at or below it; the ends are among them."""
    samples = np.arange(1.0, count + 1)
    found = time_plots.distribution(samples)
    assert all(share == 100 * value / count for value, share in found)
    assert found[0][0] == 1 and found[-1] == (float(count), 100.0)
    assert len(found) <= 101


@pytest.mark.parametrize("count", [1, 7, 100, 12345])
def test_points_of_a_tail_are_exact_and_reach_the_slowest(count: int) -> None:
    """Each is a sample with the share at or above it: from all of them to one."""
    samples = np.arange(1.0, count + 1)
    found = time_plots.tail(samples)
    assert all(share == 100 * (count - value + 1) / count for value, share in found)
    assert found[0] == (1.0, 100.0) and found[-1] == (float(count), 100 / count)
    assert len(found) <= 40


def test_curves_are_of_the_reference_and_the_fastest_rows_that_count() -> None:
    """At most six, the reference first; wrong and INVALID rows are none, however fast."""
    runtimes = ("ort", "openvino", "opencv", "ncnn", "litert", "executorch", "mnn")
    blocks = [*measured(EAGER, 100)]
    for place, runtime in enumerate(runtimes):
        blocks += measured(replace(ORT, runtime=runtime), 60 - place)
    blocks += measured(STATIC, 1, passed=False)
    blocks += invalid(measured(GAP, 2))
    ((left, right),) = figure(time_plots.distributions, *blocks).rows
    names = [line.name for line in left.lines]
    assert names[0] == "vgg19 fp32 torch-eager"
    assert names[1:] == [f"vgg19 fp32 {name}" for name in reversed(runtimes[2:])]
    assert [line.name for line in right.lines] == names
    assert right.y.log


def test_latencies_of_all_blocks_are_pooled() -> None:
    """40 inferences of 10 ms and 40 of 20: half was done by 10 ms."""
    ((left, _),) = figure(time_plots.distributions, *measured(ORT, 10, 20)).rows
    assert (10.0, 50.0) in left.lines[0].points


def threads(*counts: int, **times: float) -> list[Measurement]:
    """VGG-19 in fp32: ``runtime=ms`` with one thread, and half as long with two, and so on."""
    return [
        block
        for runtime, ms in times.items()
        for count in counts
        for block in measured(
            replace(ORT, runtime=runtime, threads=count), *(ms / count * by for by in (1, 1.1, 1.2))
        )
    ]


def test_threads_are_held_against_the_ideal() -> None:
    """How many times as fast as with the least number, paired by round, with its interval."""
    found = figure(time_plots.scaling, *threads(1, 2, 4, ort=100.0, openvino=80.0))
    ((panel,),) = found.rows
    assert [one.name for one in panel.series] == ["vgg19 fp32 ort", "vgg19 fp32 openvino"]
    gains = [(mark.x.value, mark.y.value) for mark in panel.series[0].marks]
    assert [x for x, _ in gains] == [1, 2, 4]
    assert [y for _, y in gains] == pytest.approx([1, 2, 4])
    assert panel.series[0].joined and panel.series[0].marks[1].y.low is not None
    assert panel.lines[0].points == ((1.0, 1.0), (4.0, 4.0))
    assert panel.x.ticks == (1.0, 2.0, 4.0) and not panel.x.log


def test_a_batch_is_held_against_no_gain() -> None:
    """Times are for an image; a runtime that was measured at one setting only has no curve."""
    blocks = [
        *measured(ORT, 10, 10, 10),
        *measured(replace(ORT, batch_size=4), 20, 20, 20),
        *measured(EAGER, 30),
    ]
    ((panel,),) = figure(time_plots.scaling, *blocks).rows
    (series,) = panel.series
    assert [mark.x.value for mark in series.marks] == [1, 4]
    assert [mark.y.value for mark in series.marks] == pytest.approx([1, 2])
    assert panel.lines[0].points == ((1.0, 1.0), (4.0, 1.0))


def test_rows_that_do_not_count_are_in_no_sweep() -> None:
    """An INVALID setting is left out, and with it the curve of two."""
    one, two = measured(ORT, 10), invalid(measured(replace(ORT, threads=4), 5))
    assert figure(time_plots.scaling, *one, *two).rows == ()
