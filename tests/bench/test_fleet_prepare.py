"""Who resizes the images of a store, and who does it where that one can't."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from bench import labelled, on_host
from bench.kinds import Machine, Node
from bench.options import UsageError
from export.images import ImageFolder
from tests.bench.test_kinds import machine

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

from bench import fleet_prepare
from bench.cluster import HostLost, HostTrouble, ProcessDied
from tests.bench.fleet_made_up import MadeUp

A, B, C = (machine(number) for number in (1, 2, 3))


def in_store(store_id: str, *machines: Machine) -> list[Machine]:
    """Machines that see the same folder."""
    return [replace(one, own=replace(one.own, store_id=store_id)) for one in machines]


def prepared(
    cluster: MadeUp,
    machines: list[Machine],
    trouble: Mapping[str, HostLost],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[str], dict[str, str]]:
    """By which nodes images were asked for, in order; and who was left out, and why."""
    asked: list[str] = []
    left_out: dict[str, str] = {}

    def prepare(*_: object) -> None:
        node: Node = cluster.here.node
        asked.append(node.id[-1])
        if node.id in trouble:
            raise trouble[node.id]

    monkeypatch.setattr(on_host, "prepare", prepare)
    fleet_prepare.prepare(
        cast(Any, cluster),
        machines,
        [],
        cast(Any, None),
        "",
        lambda one, why: left_out.update({one.node.id[-1]: why}),
    )
    return asked, left_out


def test_one_of_a_store_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others see what it has made."""
    machines = [*in_store("1", A, B), *in_store("2", C)]
    assert prepared(MadeUp(), machines, {}, monkeypatch) == (["1", "3"], {})


def test_where_it_is_gone_another_one_of_its_store_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And it is left out."""
    trouble = {A.node.id: HostLost("gone")}
    asked, left_out = prepared(MadeUp(), in_store("1", A, B, C), trouble, monkeypatch)
    assert asked == ["1", "2"]
    assert left_out == {"1": "resizing images: gone"}


def test_a_full_disk_costs_those_that_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines of another store have theirs."""
    full = {one.node.id: HostTrouble("No space left on device", one.node.id) for one in (A, B)}
    machines = [*in_store("1", A, B), *in_store("2", C)]
    asked, left_out = prepared(MadeUp(), machines, full, monkeypatch)
    assert sorted(asked) == ["1", "2", "3"]
    assert left_out == dict.fromkeys("12", "resizing images: No space left on device")


def test_whose_process_dies_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the others of its store; its node lives."""
    trouble = {A.node.id: ProcessDied("killed")}
    assert prepared(MadeUp(), in_store("1", A, B), trouble, monkeypatch) == (["1", "2"], {})
    asked, left_out = prepared(MadeUp(), in_store("1", A), trouble, monkeypatch)
    assert asked == ["1", "1"]
    assert left_out == {"1": "resizing images: killed"}


def test_whose_node_is_gone_with_its_process_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody answers there."""
    cluster = MadeUp()
    cluster.gone.add(A.node.id)
    trouble = {A.node.id: ProcessDied("killed")}
    asked, left_out = prepared(cluster, in_store("1", A), trouble, monkeypatch)
    assert asked == ["1"]
    assert left_out == {"1": "resizing images: killed"}


@pytest.mark.parametrize(
    ("cause", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), OSError), (ValueError("x"), UsageError)],
)
def test_a_machine_tells_its_disk_from_the_images(
    cause: Exception, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that can't be read end the run: they are the same everywhere."""

    def fail(*_: object) -> None:
        raise UsageError("made up") from cause

    monkeypatch.setattr(labelled, "prepare", fail)
    monkeypatch.setattr(on_host, "arrived", lambda *_: ".")
    monkeypatch.setattr(ImageFolder, "open", lambda place: None)
    with pytest.raises(raised) as caught:
        on_host.prepare([], cast(Any, None), "", lambda reference: reference)
    assert type(caught.value) is raised
