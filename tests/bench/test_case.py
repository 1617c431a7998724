"""Case and plan: what is measured, in which order, under which name."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bench.case import Case, crossover, file_format, left_out, plan, unsupported
from bench.command_line import parse
from bench.options import UsageError
from export.recipes import FILE_LEVEL, RECIPES
from export.variants import ALIASES, VARIANTS
from runtimes import REGISTRY


def planned(*words: str) -> list[str]:
    """The row keys of a command line, without threads and batch."""
    return [str(case).removesuffix("/t1/b1") for case in plan(parse([*words, "-t", "1"]))]


def test_row_key_spells_out_only_what_is_not_the_default() -> None:
    """The key of a plain row is short; weights, precision and scenario appear where set."""
    assert str(Case("vgg19", "int8-static", "ort", 2)) == "vgg19/int8-static/ort/t2/b1"
    full = Case("vgg19", "fp32", "openvino", 2, 1, "plants40", "bf16", "server")
    assert str(full) == "vgg19@plants40/fp32/openvino+bf16/t2/b1/server"


def test_default_suite_is_what_the_readme_says() -> None:
    """torch-eager fp32, ort fp32-opt and int8-static for all but -wide, -quantized rows, null."""
    counts = Counter(key.split("/", 1)[1] for key in planned())
    ones = sum(not row.full_suite_only for row in VARIANTS.values())
    assert counts == {
        "fp32/torch-eager": ones,
        "fp32-opt/ort": ones,
        "int8-static/ort": ones,
        "int8-dynamic/ort": len(ALIASES),
        "fp32/null": 3,
    }


def test_full_suite_has_every_variant_and_recipe() -> None:
    """Nothing of the two tables is left out of the full suite, -wide included."""
    keys = planned("--suite", "full")
    assert "xception-flatten-wide/int8-static/ort" in keys
    assert "revisited-v4@cifar10/fp32-ort-tools/ort" in keys
    assert "xception-flatten-wide/fp32-ort-tools/ort" not in keys  # over that package's 2 GB
    assert "vgg19/int8-dynamic/torch-eager" in keys
    assert len(keys) == len(set(keys))


def test_full_suite_changes_files_alone_where_it_says_something() -> None:
    """Of each family one variant, with large fully connected layers; other suites have none."""
    keys = planned("--suite", "full")
    for recipe in FILE_LEVEL:
        found = {key.split("/")[0].split("@")[0] for key in keys if f"/{recipe}/ort" in key}
        assert found == {"vgg19", "xception-flatten", "revisited-base"}
    for suite in ("quick", "default"):
        assert not any(
            f"/{name}/" in key for key in planned("--suite", suite) for name in FILE_LEVEL
        )


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every runtime were there."""
    monkeypatch.setattr("bench.case.available", lambda: tuple(REGISTRY))
    monkeypatch.setattr("bench.case.missing", lambda name: None)


@pytest.mark.usefixtures("everything_installed")
def test_runtimes_suite_has_all_runtimes_and_their_precisions() -> None:
    """Every runtime in fp32, bf16 where it can be asked for, INT8 where it can be made."""
    keys = planned("--suite", "runtimes", "-m", "vgg19")
    real = [name for name in REGISTRY if name != "null"]
    assert {f"vgg19/fp32/{name}" for name in real} <= set(keys)
    assert len(real) >= 10
    assert "vgg19/fp32/openvino+bf16" in keys
    assert "vgg19/fp32/ort+bf16" not in keys
    assert "vgg19/int8-static/openvino" in keys
    assert "vgg19/int8-static/openvino+bf16" not in keys
    assert "vgg19/fp16-weights/ncnn" in keys


@pytest.mark.usefixtures("everything_installed")
def test_runtimes_suite_sweeps_threads_and_batches_of_one_variant_a_family() -> None:
    """Others are measured at one setting; the harness's own row has no sweep."""
    cases = plan(parse(["--suite", "runtimes", "-t", "1"]))
    swept = {case.variant for case in cases if case.batch_size > 1}
    assert swept == {"vgg19", "xception", "revisited-v6"}
    assert {case.batch_size for case in cases} == {1, 4, 8}
    assert all(case.batch_size == 1 for case in cases if case.runtime == "null")


@pytest.mark.usefixtures("everything_installed")
@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_all_runtimes_have_a_row_or_a_reason(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for all is told of each; a suite that chose its runtimes has no such rows."""
    monkeypatch.setattr("bench.case._missing_tools", lambda case: None)
    words = ["--runtimes", "all", "--variants", "vgg19", "-t", "1"]
    found = {case.runtime: case for case in plan(parse(words)) if case.recipe == recipe}
    assert set(found) - {"null"} == set(REGISTRY) - {"null"}
    reasons = {name for name, case in found.items() if unsupported(case)}
    assert reasons == (set() if recipe == "fp32" else {"torch-eager", "torch-script", "ncnn"})
    full = plan(parse(["--suite", "full"]))
    assert not any(case.runtime in RECIPES[case.recipe].impossible for case in full)


@pytest.mark.usefixtures("everything_installed")
def test_a_precision_that_a_runtime_only_seems_to_have_is_a_row_with_a_reason() -> None:
    """MNN takes the words for bf16 and computes in fp32."""
    words = ["--runtimes", "all", "-m", "vgg19", "--recipes", "fp32", "--precisions", "fp32,bf16"]
    found = {
        case.precision: unsupported(case) for case in plan(parse(words)) if case.runtime == "mnn"
    }
    assert "bit by bit" not in str(found["fp32"])
    assert "bit by bit" in str(found["bf16"])


@pytest.mark.usefixtures("everything_installed")
def test_what_nobody_can_make_is_a_row_with_a_reason() -> None:
    """ncnn's INT8 is asked for with all runtimes, and answered."""
    cases = plan(parse(["--runtimes", "all", "-m", "vgg19", "--recipes", "int8-static"]))
    (case,) = [case for case in cases if case.runtime == "ncnn"]
    assert "PyPI" in str(unsupported(case))


@pytest.mark.usefixtures("everything_installed")
def test_a_compiler_that_is_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-inductor compiles to C++: without g++ its rows say so before anything is built."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    monkeypatch.setattr("shutil.which", lambda name: None)
    case = Case("vgg19", "fp32", "torch-inductor", 1)
    assert unsupported(case) == "building needs g++, from the system's packages"
    assert unsupported(replace(case, runtime="openvino")) is None


def test_more_threads_than_a_runtime_has_is_a_reason() -> None:
    """tract computes on one."""
    assert "1 thread" in str(unsupported(Case("vgg19", "fp32", "tract", 2)))


def test_all_takes_what_is_installed_and_says_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that is not there has no rows, but a line with its remedy."""
    gone = {"ncnn": "not installed: pip install 'deploybench[ncnn]'"}
    monkeypatch.setattr("bench.case.available", lambda: tuple(n for n in REGISTRY if n != "ncnn"))
    monkeypatch.setattr("bench.case.missing", gone.get)
    options = parse(["--runtimes", "all", "-m", "vgg19"])
    assert "ncnn" not in {case.runtime for case in plan(options)}
    assert left_out(options) == ("ncnn: not installed: pip install 'deploybench[ncnn]'",)
    assert left_out(parse(["--runtimes", "ort"])) == ()


def test_a_precision_chooses_its_own_compiled_file() -> None:
    """torch-inductor compiles for a precision; OpenVINO is told when it loads."""
    inductor = Case("vgg19", "fp32", "torch-inductor", 2, precision="bf16")
    assert file_format(inductor) == "aoti-bf16"
    assert file_format(replace(inductor, runtime="openvino")) == "onnx"
    assert file_format(replace(inductor, precision="fp32")) == "aoti"


def test_quick_has_no_vgg_but_the_small_one() -> None:
    """The quick suite leaves out the large files; a variant that is named is measured whole."""
    large = {key.split("/")[0] for key in planned("--quick") if not key.startswith("revisited")}
    assert large == {"vgg19-gap", "xception", "xception-flatten", "xception-gap"}
    assert "revisited-v6@cifar10/int8-static/ort" in planned("--quick")
    assert "xception-flatten/fp32/torch-eager" in planned("--quick", "-m", "xception-flatten")


def test_an_alias_fixes_its_recipe_and_is_shown_under_its_name() -> None:
    """``vgg19-quantized`` is vgg19 under int8-dynamic: one row, the seeds' name."""
    (case,) = plan(parse(["--variants", "vgg19-quantized", "--runtimes", "ort"]))
    assert (case.variant, case.recipe, case.shown_variant) == (
        "vgg19",
        "int8-dynamic",
        "vgg19-quantized",
    )


def test_both_names_of_a_row_are_one_row() -> None:
    """Asking for variant and alias measures the row once."""
    keys = planned("--variants", "vgg19,vgg19-quantized", "--recipes", "int8-dynamic")
    assert sorted(keys) == ["vgg19/int8-dynamic/ort", "vgg19/int8-dynamic/torch-eager"]


def test_a_glob_does_not_draw_in_the_huge_variant() -> None:
    """``xception*`` leaves -wide to the full suite; its full name brings it."""
    assert not any("wide" in key for key in planned("--variants", "xception*"))
    assert any("wide" in key for key in planned("--variants", "xception-flatten-wide"))


def test_a_combination_that_was_named_but_cannot_be_is_a_row_with_a_reason() -> None:
    """A named recipe and runtime that don't meet give an unsupported row."""
    words = ["--variants", "vgg19", "--recipes", "fp16-weights", "--runtimes", "torch-eager"]
    (case,) = plan(parse(words))
    assert unsupported(case) == "fp16-weights can't be made as pt2, which is what torch-eager opens"


def test_nothing_to_measure_is_a_usage_error() -> None:
    """An empty plan is refused, naming what the aliases fix."""
    with pytest.raises(UsageError, match="vgg19-quantized fixes the recipe int8-dynamic"):
        plan(parse(["--variants", "vgg19-quantized", "--recipes", "fp32"]))


def test_an_empty_plan_names_the_runtimes_that_compute_in_something_else() -> None:
    """Of those that were named; where a suite chose them, it would be no help."""
    with pytest.raises(UsageError) as caught:
        plan(parse(["--precisions", "bf16", "--runtimes", "opencv,litert"]))
    for name in ("opencv", "litert"):
        assert f"; {name} can't compute in bf16, only in fp32;" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        plan(parse(["--precisions", "bf16"]))
    assert "can't compute" not in str(caught.value)


def test_null_is_measured_once_per_family() -> None:
    """The harness's overhead is one row a family."""
    nulls = [key for key in planned() if key.endswith("/null")]
    assert nulls == ["vgg19/fp32/null", "xception/fp32/null", "revisited-base@cifar10/fp32/null"]


def test_crossover_holds_each_case_once_a_round_in_a_seeded_order() -> None:
    """Every round is a permutation of all cases; the seed decides which, and back again."""
    cases = [Case("vgg19", "fp32", "ort", n) for n in range(1, 9)]
    order = list(crossover(cases, 3, seed=7))
    rounds = [[case for number, case in order if number == i] for i in range(3)]
    assert [number for number, _ in order] == [0] * 8 + [1] * 8 + [2] * 8
    assert all(sorted(r) == cases for r in rounds)
    assert rounds[1] == rounds[0][::-1]
    assert rounds[2] not in rounds[:2]
    assert order == list(crossover(cases, 3, seed=7))
    assert order != list(crossover(cases, 3, seed=8))
