"""Machines by kind, and which of them may be measured together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import kinds
from bench.kinds import Machine, Node
from bench.on_host import Described
from bench.options import UsageError

OWN = Described(
    facts={
        "CPU": "Fast CPU 9000 (cpu family 6, model 1)",
        "instruction sets": "avx2",
        "cores": "4",
        "memory": "16 GB",
        "usable cores": "4",
    },
    cores=4,
    instruction_sets="x86_64 avx2",
    machine="aaaaaaaa",
    store="/cache",
    store_id="1",
    niceness=0,
    versions={"numpy": "2.0", "Python": "3.11.7"},
    code="c0de",
)


def machine(number: int, label: str = "", cpus: int = 4, **changes: object) -> Machine:
    """One that differs from OWN so."""
    node = Node(f"{number:08x}", f"10.0.0.{number}", cpus, label)
    own = replace(OWN, machine=f"{number:08x}", **changes)  # type: ignore[arg-type]
    return Machine(node, own)


def test_alike_are_one_kind() -> None:
    """The same CPU, instruction sets, cores and memory; in the order of the cluster."""
    slow = {**OWN.facts, "CPU": "Slow CPU (cpu family 5)"}
    found = kinds.kinds_of([machine(1), machine(2, facts=slow), machine(3)])
    assert [kind.name for kind in found] == ["Fast CPU 9000, 4 cores", "Slow CPU, 4 cores"]
    assert [one.node.address for one in found[0].machines] == ["10.0.0.1", "10.0.0.3"]


def test_a_label_names_a_kind_and_sets_it_apart() -> None:
    """Two rented types may have the same CPU and another network, disk or neighbour."""
    found = kinds.kinds_of(
        [machine(1, "c7i.large"), machine(2, "m7i.large"), machine(3, "c7i.large")]
    )
    assert [(kind.name, len(kind.machines)) for kind in found] == [
        ("c7i.large", 2),
        ("m7i.large", 1),
    ]
    assert found[0].facts["kind"] == "c7i.large"


def test_fewer_cores_given_to_the_cluster_are_another_kind() -> None:
    """They are what a case's threads are set by."""
    found = kinds.kinds_of([machine(1), machine(2, cpus=2)])
    assert [kind.cores for kind in found] == [4, 2]
    assert found[1].name == "Fast CPU 9000, 2 cores"
    assert found[1].facts["usable cores"] == "2"


def test_two_kinds_are_never_called_alike() -> None:
    """Their memory may be what differs."""
    more = {**OWN.facts, "memory": "32 GB"}
    found = kinds.kinds_of([machine(1), machine(2, facts=more)])
    assert [kind.name for kind in found] == ["Fast CPU 9000, 4 cores", "Fast CPU 9000, 4 cores #2"]


def test_other_versions_are_refused_by_name() -> None:
    """Before anything is measured, with what differs and where."""
    other = machine(2, versions={"numpy": "2.1", "openvino": "2026.4", "Python": "3.11.7"})
    with pytest.raises(UsageError) as caught:
        kinds.kinds_of([machine(1), other])
    assert "10.0.0.1 (00000001) and 10.0.0.2 (00000002) have other versions" in str(caught.value)
    assert "numpy 2.0 and 2.1; openvino absent and 2026.4" in str(caught.value)


def test_other_code_is_refused_too() -> None:
    """Figures of other code are another run's."""
    with pytest.raises(UsageError, match="deploybench's own code c0de and beef"):
        kinds.kinds_of([machine(1), machine(2, code="beef")])


def test_the_driver_must_be_the_same() -> None:
    """It plans by what is installed on it."""
    driver = replace(OWN, versions={"numpy": "1.26", "Python": "3.11.7"})
    with pytest.raises(UsageError, match=r"drives, and 10\.0\.0\.1 \(0+1\) have other"):
        kinds.check_same([machine(1)], driver)
    kinds.check_same([machine(1)], OWN)


def test_no_machine_is_an_error() -> None:
    """A head node without CPUs measures nothing."""
    with pytest.raises(UsageError, match="no node of the cluster has a CPU"):
        kinds.kinds_of([])


def test_one_machine_as_two_nodes_is_told() -> None:
    """They would disturb each other."""
    twice = [machine(1), replace(machine(2), own=replace(OWN, machine="00000001"))]
    (text,) = kinds.warnings(kinds.kinds_of(twice))
    assert "nodes 00000001, 00000002 are one machine" in text


def test_nice_workers_are_told() -> None:
    """Anything else would come first."""
    (text,) = kinds.warnings(kinds.kinds_of([machine(1), machine(2, niceness=10)]))
    assert "niceness 10 on 10.0.0.2 (00000002):" in text
    assert "RAY_worker_niceness=0" in text


def test_a_lost_node_leaves_the_kind() -> None:
    """The others of its kind stay."""
    (kind,) = kinds.kinds_of([machine(1), machine(2)])
    left = kinds.without(kind, f"{1:08x}")
    assert [one.node.address for one in left.machines] == ["10.0.0.2"]
