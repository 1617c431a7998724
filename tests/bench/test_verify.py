"""``python -m bench.verify``: what is reproduced, what is not, and what can't be told."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import bundle, host, measure_again, report, verify, verify_files
from bench.case import Case
from bench.claims import Claim, Outcome, exit_code, held
from bench.command_line import parse
from bench.measure_again import Bounds, Subject, claims, compared, judged
from bench.record import Answers, Labelled, Measurement, Status, Surroundings, write_run
from bench.rows import Row
from bench.scores import scored
from bench.stats import position, ratio_estimate, unpaired_log_ratio
from export.artifact import RECORD, Artifact, folder_bytes, folder_sha256, write_record
from export.images import Preprocess
from tests.bench.made_up import header
from tests.bench.packed import WRONG, block, chosen, measured

CASE = Case("revisited-v6", "fp32", "ort", 1)
P50, LOAD, PEAK = measure_again._FIGURES
CROWDED = Surroundings(
    1.0, foreign_cpu_s=5.0, steal_s=0.0, involuntary_switches=0, voluntary_switches=0
)


def blocks(artifact: Artifact, *ms: float) -> list[Measurement]:
    """A block for each median."""
    return [block(CASE, artifact, i, ms=value) for i, value in enumerate(ms)]


def row(artifact: Artifact, *ms: float) -> Row:
    """What was claimed."""
    return Row(CASE, tuple(blocks(artifact, *ms)))


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        ((10.1, 10.0, 9.9), "reproduced"),
        ((15.1, 15.0, 14.9), "not reproduced"),
        ((5.1, 5.0, 4.9), "not reproduced"),
        ((11.0, 12.0, 13.0), "cannot tell"),
        ((10.0, 10.0), "cannot tell"),
    ],
    ids=["same", "slower", "faster", "across the edge", "too few"],
)
def test_a_figure_is_judged_by_its_whole_interval(
    artifact: Artifact, now: Sequence[float], outcome: Outcome
) -> None:
    """Within the margin it is reproduced, outside it is not, whichever way; else untold."""
    found = judged(P50, row(artifact, 9.9, 10.0, 10.1), blocks(artifact, *now), 0.2)
    assert found.outcome == outcome
    assert "ms then" in found.why and "ms now" in found.why


def test_blocks_that_prove_nothing_do_not_count(artifact: Artifact) -> None:
    """The reason names their number and their codes; memory they tell all the same."""
    crowded = [replace(one, surroundings=CROWDED) for one in blocks(artifact, 10, 10, 10)]
    found = judged(P50, row(artifact, 10, 10, 10), crowded, 0.2)
    assert found.outcome == "cannot tell"
    assert "there are 3 and 0; 3 were INVALID (foreign-cpu)" in found.why
    assert judged(PEAK, row(artifact, 10, 10, 10), crowded, 0.2).outcome == "reproduced"


def test_exit_codes() -> None:
    """1 for anything refuted, 3 for anything untold, 0 when all is reproduced; 3 for nothing."""
    fine, wrong, open_ = Claim("a", "reproduced"), held("b", ["x"]), Claim("c", "cannot tell")
    assert exit_code([fine, fine]) == 0
    assert exit_code([fine, open_]) == 3
    assert exit_code([open_, wrong, fine]) == 1
    assert exit_code([]) == 3
    assert str(wrong) == "not reproduced  b: x"


def test_a_claim_moves_no_terminal() -> None:
    """Whatever stands in the names and versions of a bundle."""
    assert str(held("\x1b[2Ja", ["b\r\x9b1m"])) == "not reproduced  \ufffd[2Ja: b\ufffd\ufffd1m"


def subject(artifact: Artifact, **changes: object) -> Subject:
    """A row of three blocks, measured on this very host unless said otherwise."""
    here = header(host_id=host.host_id(host.describe()), **changes)
    return Subject(row(artifact, 10, 10, 10), here, artifact)


Judged = dict[str, Claim]


def measured_again(
    monkeypatch: pytest.MonkeyPatch, about: Subject, made: Sequence[Measurement], *words: str
) -> Judged:
    """The claims by name, when the next blocks are these."""
    queue = list(made)
    monkeypatch.setattr(measure_again, "run_block", lambda *given: queue.pop(0))
    found = claims(about, Bounds(0.2, 0.0), parse(words), 0, lambda text: None)
    return {claim.what: claim for claim in found}


def test_all_is_reproduced_on_the_same_host(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """Answers, latency, load and memory, over as many blocks as the run had."""
    found = measured_again(monkeypatch, subject(artifact), blocks(artifact, 10, 10, 10))
    assert list(found) == ["its answers", "latency, p50", "load", "peak memory"]
    assert {claim.outcome for claim in found.values()} == {"reproduced"}


def taken(
    monkeypatch: pytest.MonkeyPatch, about: Subject, budget_s: float, times: Iterable[float]
) -> int:
    """How many blocks are measured when they take so long."""
    queue = iter(times)
    made: list[Measurement] = []

    def run_block(*given: object) -> Measurement:
        made.append(block(CASE, about.artifact, len(made), ms=next(queue)))
        return made[-1]

    monkeypatch.setattr(measure_again, "run_block", run_block)
    list(claims(about, Bounds(0.2, budget_s), parse([]), 0, lambda text: None))
    return len(made)


def test_blocks_are_looked_at_three_times_at_most(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """After 3, 7 and 15, whatever the budget; without one after the run's own number."""
    about, hour = subject(artifact), 3600.0
    open_ = itertools.cycle([10.0, 14.4])  # its mean lies on the edge
    assert taken(monkeypatch, about, hour, [10.0] * 20) == 3
    assert taken(monkeypatch, about, hour, [8.0, 10.0, 12.5, *[10.0] * 20]) == 7
    assert taken(monkeypatch, about, hour, open_) == 15
    assert taken(monkeypatch, about, 0.0, open_) == 3
    longer = replace(about, header=replace(about.header, blocks=5))
    assert taken(monkeypatch, longer, hour, open_) == 23


def test_a_look_has_its_share_of_the_error(artifact: Artifact) -> None:
    """What an interval of 95 % would call the same is not told yet."""
    now = blocks(artifact, 10.7, 11.0, 11.4)
    spread = unpaired_log_ratio([10.7, 11.0, 11.4], [9.9, 10.0, 10.1])
    assert spread is not None
    assert position(ratio_estimate(spread), 0.2) == "within"
    assert judged(P50, row(artifact, 9.9, 10.0, 10.1), now, 0.2).outcome == "cannot tell"


def test_another_host_tells_answers_but_no_times(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """One block is enough for that, and the times here are shown."""
    about = subject(artifact)
    about = replace(about, header=replace(about.header, host_id="ff00"))
    found = measured_again(monkeypatch, about, blocks(artifact, 10))
    assert found["its answers"].outcome == "reproduced"
    assert found["latency, p50"].outcome == "cannot tell"
    assert "10.0 ms now: measured on another host (CPU one" in found["latency, p50"].why


def test_another_version_of_the_runtime_is_no_reproduction(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """Its times are about something else."""
    about = subject(artifact)
    then = tuple(replace(one, runtime_version="1.0") for one in about.row.blocks)
    now = [replace(one, runtime_version="2.0") for one in blocks(artifact, 10, 10, 10)]
    found = measured_again(monkeypatch, replace(about, row=Row(CASE, then)), now)
    assert found["latency, p50"].outcome == "cannot tell"
    assert "measured with ort 1.0, here is 2.0" in found["latency, p50"].why


def test_other_answers_are_not_reproduced(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """By the limits of parity."""
    wrong = [replace(one, parity=WRONG) for one in blocks(artifact, 10, 10, 10)]
    found = measured_again(monkeypatch, subject(artifact), wrong)
    assert found["its answers"].outcome == "not reproduced"


@pytest.mark.parametrize(
    ("status", "outcome"), [("unsupported", "cannot tell"), ("failed", "not reproduced")]
)
def test_what_does_not_run(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact, status: Status, outcome: Outcome
) -> None:
    """A runtime that is not here tells nothing; a model that breaks refutes the claim."""
    broken = replace(block(CASE, artifact), status=status, reason="why", latencies_ns=())
    found = measured_again(monkeypatch, subject(artifact), [broken])
    assert [(claim.what, claim.outcome) for claim in found.values()] == [("it runs", outcome)]


@pytest.mark.parametrize(
    ("images", "lost", "won", "outcome"),
    [
        (100, 0, 0, "reproduced"),
        (100, 50, 0, "not reproduced"),
        (100, 1, 1, "cannot tell"),
        (2000, 1, 1, "reproduced"),
        (2000, 30, 0, "not reproduced"),
        # Both shares lie in each other's own intervals: 90 %, and 88.4 %.
        (1000, 16, 0, "not reproduced"),
    ],
)
def test_accuracy_is_compared_image_by_image(
    artifact: Artifact, images: int, lost: int, won: int, outcome: Outcome
) -> None:
    """A drop that the share's own interval would hide is told; too few images tell nothing."""
    labelled = Labelled("plants", "test", "ff", ("a", "b"), (0,) * images)
    wrong = images // 10

    def answers(wrongly: range) -> Answers:
        named = tuple(int(image in wrongly) for image in range(images))
        return Answers(named, named)

    then = scored(labelled, answers(range(wrong)))
    now = answers(range(won, wrong + lost))
    found = compared("x", labelled, then, replace(block(CASE, artifact), answers=now))
    assert found.outcome == outcome, found
    assert f"{images - lost - won} of {images} images named alike" in found.why
    assert ("points, margin 1" in found.why) == (lost + won > 0)


def stored(store: Path, artifact: Artifact, step: str, reference: str) -> Artifact:
    """A file in a store, its key made from an empty provenance."""
    key = f"revisited-v6.{step}.44136fa355b3678a1146"  # the hash of {}
    folder = store / key
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"nothing opens this")
    made = replace(
        artifact,
        key=key,
        folder=str(folder),
        size_bytes=folder_bytes(folder),
        sha256=folder_sha256(folder),
        reference=reference or key,
    )
    write_record(folder, made)
    return made


@pytest.fixture
def results(tmp_path: Path, artifact: Artifact) -> Path:
    """A results folder, its page, and a store with its file."""
    reference = stored(tmp_path / "store", artifact, "reference", "")
    made = stored(tmp_path / "store", artifact, "to-onnx", reference.key)
    assert Path(made.folder, RECORD).exists()
    out = tmp_path / "results"
    (out / "records").mkdir(parents=True)
    write_run(out / "records" / "default-1.jsonl", measured(CASE, made))
    report.write(out)
    return out


def test_a_results_folder_by_its_hashes(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pages against records, records against the store: each can be refuted by itself."""
    line = [str(results), "--no-measure", "--store", str(tmp_path / "store")]
    assert verify.main(line) == 0
    assert verify.main([*line[:-1], str(tmp_path / "empty")]) == 3
    page = results / "README.md"
    text = page.read_text()
    page.write_text(text.replace("10.00", "1.00"))
    assert verify.main(line) == 1
    page.write_text(text)
    behind, model = sorted((tmp_path / "store").rglob("model.onnx"))
    for file in (behind, model):
        file.write_bytes(b"Nothing opens this")
        assert verify.main(line) == 1
        file.write_bytes(b"nothing opens this")
    said = capsys.readouterr().out
    assert "not reproduced  the pages follow from the records" in said
    assert "not reproduced  the files of run default-1" in said
    assert "not reproduced  the files behind those of run default-1" in said
    assert "cannot tell     the files of run default-1: 0 of 1 are in the store" in said


def test_usage(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 for what is neither a bundle nor a results folder, and for unknown rows."""
    assert verify.main([str(tmp_path)]) == 2
    assert "neither a bundle" in capsys.readouterr().err
    line = [str(results), "--store", str(tmp_path / "store"), "--case", "revisited-v7/fp32/ort"]
    assert verify.main(line) == 2
    assert "the nearest are: revisited-v6/fp32/ort/t1/b1" in capsys.readouterr().err


def test_a_row_to_measure_again_is_the_fastest(results: Path, artifact: Artifact) -> None:
    """Unless another is named."""
    assert verify._fastest(results).case == chosen(CASE, artifact).case


@pytest.mark.parametrize(
    "raised", [MemoryError(), RecursionError("deep"), OverflowError("large"), ValueError("odd")]
)
def test_what_a_strangers_file_raises_refutes_its_claim(raised: Exception) -> None:
    """And hides no other claim."""

    def check(what: str, found: object) -> Claim:
        raise raised

    found = verify_files._guarded("the chain of keys", check, None)  # type: ignore[arg-type]
    assert found.outcome == "not reproduced"
    assert type(raised).__name__ in found.why


def test_a_bundle_can_not_ask_for_an_absurd_resize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its self-test's images are resized in the user's process."""
    parts = SimpleNamespace(folder=tmp_path, provenance=SimpleNamespace(artifact=None))
    for text, message in (
        (Preprocess((8, 8), first=10**6).to_json(), "resized at first to 1000000 x 1000000"),
        ("[" * 100_000, "recursion"),
    ):
        parts.provenance.artifact = SimpleNamespace(preprocess=text)
        monkeypatch.setattr(bundle, "read", lambda folder: parts)
        monkeypatch.setattr(bundle, "is_bundle", lambda folder: True)
        monkeypatch.setattr(verify_files, "of_bundle", lambda *_: iter(()))
        assert verify.main([str(tmp_path)]) == 1
        assert message in capsys.readouterr().out
