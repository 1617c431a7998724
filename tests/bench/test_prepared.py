"""What the page says of how images became what the networks take."""

from __future__ import annotations

from dataclasses import replace

from bench import report_facts
from bench.case import NULL, Case
from bench.prepared import prepared
from bench.record import Measurement, Run
from export.images import Preprocess
from tests.bench.made_up import header, measured


def block(variant: str, done: Preprocess | None, runtime: str = "ort") -> Measurement:
    """One whose file says how its inputs are made, or doesn't."""
    (found,) = measured(Case(variant, "fp32", runtime, 2), 1.0)
    assert found.file is not None
    file = replace(found.file, preprocess=done.to_json() if done else "")
    return replace(found, file=file)


WIDE = Preprocess((300, 400))


def test_every_variant_says_whether_images_are_stretched_or_cropped() -> None:
    """In the order of the tables, those that share it together, whatever was measured first."""
    blocks = [
        block("xception-gap", WIDE),
        block("vgg19", Preprocess((224, 224), first=256)),
        block("xception-flatten", WIDE),
        block("xception-gap", WIDE, "openvino"),
        block("xception", Preprocess((299, 299), resize="crop", first=342)),
    ]
    assert prepared(blocks) == (
        "stretched to 224x224 (height x width) whatever its proportions, by way of 256x256 "
        "(`vgg19`); cropped to 299x299, its shorter side resized to 342 pixels before "
        "(`xception`); stretched to 300x400 (height x width) whatever its proportions "
        "(`xception-flatten`, `xception-gap`)"
    )
    cover = Preprocess((224, 224), resize="crop")
    assert "resized to what just covers 224x224 before" in prepared([block("vgg19", cover)])


def test_the_facts_of_a_run_have_it_where_it_is_known() -> None:
    """Neither of the harness's own row nor of files that don't say it."""
    said = report_facts.facts(Run(header(), (block("xception-gap", WIDE),)))
    assert said["Images"].startswith("stretched to 300x400")
    silent = (block("xception-gap", None), block("xception-gap", WIDE, NULL))
    assert "Images" not in report_facts.facts(Run(header(), silent))
