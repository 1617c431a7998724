"""What the page says of static INT8: how it was chosen, and for which rows that holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import report_pages
from bench.case import Case
from bench.choices import Blamed, Choice, Made, Score
from bench.record import Labelled, Recorder, read_run
from export.build import Int8
from tests.bench.made_up import header

LABELS = tuple(image % 5 for image in range(100))
PLANTS = Labelled("plants", "test", "f00d", tuple("abcde"), LABELS)
BASE = Choice(
    variant="xception",
    weights="plants40",
    int8=Int8("percentile", 99.9, 64, keep_fp32=("conv|1", "Conv_2")),
    data="plants40.zip",
    max_drop=1.0,
    met_on_val=True,
    met_on_test=True,
    val=Score(images=100, fp32=75, int8=74, lost=3, gained=2),
    test=Score(images=400, fp32=300, int8=301, lost=1, gained=2),
    blamed=(Blamed("conv|1", 0.25), Blamed("Conv_2", 0.0625, "conv2")),
    warning="The weights may have learnt them.",
    finished=True,
    looks=1,
)
GAP = Choice(
    variant="xception-gap",
    weights="plants40",
    int8=Int8(per_channel=False, activation_type="s8"),
    data="plants40.zip",
    max_drop=1.0,
)
STATIC = Case("xception", "int8-static", "ort", 2)


@pytest.fixture
def blocks(answered):
    """Three variants in INT8 in ort, one also in runtimes with and without their own quantiser."""
    cases = [
        replace(STATIC, recipe="fp32"),
        STATIC,
        replace(STATIC, variant="xception-gap"),
        replace(STATIC, variant="xception-flatten"),
        replace(STATIC, runtime="openvino"),
        replace(STATIC, runtime="mnn"),
        replace(STATIC, runtime="litert"),
    ]
    found = [answered(case, 40, PLANTS, {}) for case in cases]
    formats = {"mnn": "mnn", "litert": "tflite"}
    return [
        replace(one, file=replace(one.file, format=formats.get(one.case.runtime, "onnx")))
        for one in found
    ]


SECTION = """\
### How INT8 was chosen

| variant      | weights   | method          | images   | scales      | activations   | left in fp32   | to blame, worst first         |        limit kept, points of top-1 |   validation: points against fp32 |         test: points against fp32 |
|--------------|-----------|-----------------|----------|-------------|---------------|----------------|-------------------------------|------------------------------------|-----------------------------------|-----------------------------------|
| xception     | plants40  | percentile 99.9 | 64       | per channel | unsigned      | conv\\|1, conv2 | conv\\|1 (0.25), conv2 (0.062) |                          yes, of 1 |       -1 (-7 to +4) of 100 images | +0.2 (-0.9 to +1.6) of 400 images |
| xception-gap | plants40  | minmax          | 16       | per tensor  | signed        | none           | none                          | **no**, of 1 (search not finished) |                                 – |                                 – |

- Chosen by `python -m bench.search` on the validation part of plants40.zip; the test part was looked at once, afterwards, and the limit is kept where both keep it. Intervals are of 95 %; behind a layer to blame stands its harm: 1 less the centred cosine of the network's outputs with and without INT8 in this layer alone.
- `xception`: The weights may have learnt them.
- It holds for the .onnx file that ort and openvino read.
- It does not hold for the int8-static rows of mnn and litert: their INT8 is made by the quantiser of the format's own converter, which knows nothing of this choice.
- Nothing was chosen for `xception-flatten`: quantised as the run's command says.

"""  # noqa: E501


def section(run) -> str:
    """The part of the page that is about the choice."""
    text = report_pages.page([run])
    assert text.count("### How INT8 was chosen") == 1
    _, found, after = text.partition("### How INT8 was chosen")
    return found + after.partition("\n###")[0] + "\n"


def test_whole_section(blocks, run_of) -> None:
    """What was chosen, what that rests on, and whose rows it is about, character for character."""
    run = run_of(*blocks, labelled=PLANTS, int8_choices=(BASE, GAP))
    assert section(run) == SECTION


def test_several_looks_at_the_test_part_are_told(blocks, run_of) -> None:
    """Of the variant whose search looked more than once; nobody says "once" then."""
    text = section(run_of(*blocks, int8_choices=(replace(BASE, looks=2), replace(GAP, looks=1))))
    assert "- `xception`: the test part was looked at 2 times, once for each pick of" in text
    assert "the test part was looked at afterwards, and" in text
    assert text.count("2 times") == 1


def test_looks_that_were_not_counted_are_no_one_look(blocks, run_of) -> None:
    """A choice of before looks were counted says once or more, and nobody says "once" then."""
    text = section(run_of(*blocks, int8_choices=(replace(BASE, looks=0), GAP)))
    assert "the test part was looked at afterwards, and" in text
    assert (
        "- `xception`: how often the test part was looked at was not counted when that was "
        "searched: once or more." in text
    )


def test_the_page_says_where_a_choice_was_searched(blocks, run_of) -> None:
    """Its day, command, commit and CPU; of older choices nothing."""
    made = Made("2026-01-02T03:04:05+00:00", "python -m bench.search -m x", "abc", {"CPU": "c"}, {})
    text = section(run_of(*blocks, int8_choices=(replace(BASE, made=made), GAP)))
    said = (
        "- `xception`: searched on 2026-01-02 by `python -m bench.search -m x`, commit abc, CPU c."
    )
    assert said in text
    assert "searched on" not in section(run_of(*blocks, int8_choices=(BASE, GAP)))


def test_without_a_choice_there_is_no_such_section(blocks, run_of) -> None:
    """Old pages stay as they are."""
    assert "How INT8" not in report_pages.page([run_of(*blocks, labelled=PLANTS)])


def test_a_remark_that_names_nobody_is_left_out(blocks, run_of) -> None:
    """Every variant was chosen, and only ort measured."""
    text = section(run_of(*blocks[:2], int8_choices=(BASE,)))
    assert "It holds for the .onnx file that ort reads." in text
    assert "It does not hold" not in text
    assert "Nothing was chosen" not in text


REST = (
    "; on x86 CPUs without VNNI the same QDQ file of `int8-static` may lose accuracy, because "
    "sums of 16 bits saturate: `python -m export.saturation FILE.onnx` tells "
    "how often that would happen in each layer, and the recipes `int8-static-7bit` and "
    "`int8-static-u8u8` rule it out."
)


@pytest.mark.parametrize(
    ("sets", "here"),
    [
        ("avx2, avx512f, avx512_vnni", "This host has VNNI, which adds in 32 bits"),
        (
            "avx2, avx512f",
            "This host has no VNNI: the accuracy of its int8-static rows may have suffered",
        ),
        ("asimd, asimddp", "This host is no x86 CPU, and has no need of VNNI"),
        ("unavailable", "Whether this host has VNNI is not recorded"),
    ],
)
def test_the_page_says_what_happens_without_vnni(blocks, run_of, sets, here) -> None:
    """Behind the tables with such rows, with what the header knows of the host."""
    page = report_pages.page([run_of(*blocks, host={"instruction sets": sets})])
    assert f"\n\n{here}{REST}\n\n" in page
    assert page.index("| int8-static |") < page.index(REST) < page.index("### What building cost")


def test_a_page_says_it_once(blocks, run_of) -> None:
    """Each run has a page of its own, and each page says it of its run's host."""
    has, none = ({"instruction sets": names} for names in ("avx2, avx_vnni", "avx2"))
    runs = [
        run_of(*blocks, run=name, started=f"2026-01-0{day}", host=host)
        for day, (name, host) in enumerate({"old": none, "new": has}.items(), start=1)
    ]
    pages = report_pages.pages(runs)
    assert [page.count(REST) for page in pages.values()] == [1, 1]
    assert "This host has VNNI" in pages["README.md"]
    assert "This host has no VNNI" in pages["old.md"]


def test_without_such_files_nothing_is_said_of_vnni(blocks, run_of) -> None:
    """Neither of fp32, nor of files that other quantisers made, nor of rows that didn't run."""
    failed = replace(blocks[1], status="failed")
    assert (
        "VNNI"
        not in report_pages.page([run_of(blocks[0], failed, *blocks[5:])]).partition("## Rec")[0]
    )


def test_a_choice_is_read_as_it_was_recorded(tmp_path) -> None:
    """Layers, scores and what is still missing."""
    written = header(int8_choices=(BASE, GAP))
    with Recorder.open(tmp_path, written) as recorder:
        assert read_run(recorder.path).header == written
