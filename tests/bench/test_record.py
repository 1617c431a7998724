"""Records survive full disks, torn lines and strangers."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.case import Case
from bench.record import (
    SCHEMA,
    FileFacts,
    Measurement,
    Memory,
    Parity,
    Peaks,
    Recorder,
    RecordError,
    RunHeader,
    current_blocks,
    find_runs,
    read_header,
    read_run,
    write_atomically,
)
from tests.bench import made_up

CASE = Case("vgg19", "fp32", "ort", 2)
OTHER = Case("vgg19", "int8-static", "ort", 2)
BLOCK = Measurement(CASE, 0, "ok", latencies_ns=(5, 7))


def header(**changes) -> RunHeader:
    """A run of one case."""
    return made_up.header(**{"cases": (CASE,), **changes})


def facts(key: str) -> FileFacts:
    """A file with this key."""
    return FileFacts(key, "0" * 64, "onnx", 10, 3, 3, 0, 9, 0.5, 1000)


def recorded(out: Path, *measurements: Measurement, **changes) -> Path:
    """The live file of an interrupted run with these blocks."""
    with Recorder.open(out, header(**changes)) as recorder:
        for measurement in measurements:
            recorder.append(measurement)
    return recorder.path


def test_every_block_is_readable_as_soon_as_it_is_appended(tmp_path) -> None:
    """The file is whole after each append, before anything is closed."""
    with Recorder.open(tmp_path, header()) as recorder:
        for count in range(1, 4):
            recorder.append(replace(BLOCK, round=count))
            assert read_run(recorder.path).measurements == tuple(recorder.measurements)
            assert len(recorder.measurements) == count


FLOATS = st.floats(0, allow_nan=False)
MEASUREMENTS = st.builds(
    Measurement,
    case=st.builds(Case, variant=st.text(), threads=st.integers(1, 64)),
    status=st.sampled_from(("ok", "failed", "unsupported")),
    file=st.none() | st.builds(FileFacts, build_s=FLOATS, layers=st.just(())),
    notes=st.dictionaries(st.text(), st.text(), max_size=2),
    import_s=FLOATS,
    load_s=FLOATS,
    first_s=FLOATS,
    warmup_s=FLOATS,
    cpu_s=FLOATS,
    latencies_ns=st.lists(st.integers(0, 10**12), max_size=3).map(tuple),
    memory=st.none() | st.builds(Memory),
    surroundings=st.none(),
    parity=st.none() | st.builds(Parity, max_error=FLOATS, cosine=FLOATS, top1_agreement=FLOATS),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MEASUREMENTS, max_size=3))
def test_what_is_read_is_what_was_written(tmp_path, measurements) -> None:
    """Live and compressed, infinite errors and any text included."""
    (tmp_path / "records" / "default-1.jsonl.gz").unlink(missing_ok=True)
    with Recorder.open(tmp_path, header()) as recorder:
        for measurement in measurements:
            recorder.append(measurement)
        assert read_run(recorder.path).measurements == tuple(measurements)
        packed = recorder.finish()
    assert read_run(packed) == replace(read_run(packed), measurements=tuple(measurements))
    assert read_header(packed) == header()


def test_nan_stays_nan(tmp_path) -> None:
    """pydantic would write null, and refuse to read it."""
    parity = Parity(math.nan, -math.inf, 0.0, 16, passed=False)
    again = read_run(recorded(tmp_path, replace(BLOCK, parity=parity))).measurements[0].parity
    assert again is not None
    assert math.isnan(again.max_error)
    assert again.cosine == -math.inf


def test_host_facts_keep_their_order(tmp_path) -> None:
    """The header's facts are shown in the order in which the host told them."""
    assert list(read_header(recorded(tmp_path)).host) == ["CPU", "kernel", "Python"]


def test_a_last_line_torn_anywhere_is_left_out(tmp_path) -> None:
    """At every length short of its newline, reading and going on lose that line alone."""
    second = replace(BLOCK, round=1)
    path = recorded(tmp_path, BLOCK, second)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for length in range(start, len(whole)):
        path.write_bytes(whole[:length])
        assert read_run(path).measurements == (BLOCK,)
        recorded(tmp_path, second)
        assert path.read_bytes() == whole


def test_a_run_goes_on_where_it_was_left(tmp_path) -> None:
    """Earlier blocks and the first start's date stay; new cases join the plan."""
    recorded(tmp_path, BLOCK)
    later = header(started="2026-01-03", cases=(OTHER, CASE))
    with Recorder.open(tmp_path, later) as recorder:
        assert recorder.measurements == [BLOCK]
        assert recorder.header == header(cases=(CASE, OTHER))
        assert read_header(recorder.path) == recorder.header


def test_a_finished_run_goes_on_from_its_compressed_file(tmp_path) -> None:
    """More cases are added to a run that was complete; the old file stands until then."""
    with Recorder.open(tmp_path, header()) as recorder:
        recorder.append(BLOCK)
        packed = recorder.finish()
    with Recorder.open(tmp_path, header(cases=(CASE, OTHER))) as recorder:
        recorder.append(replace(BLOCK, case=OTHER))
        assert read_run(packed).measurements == (BLOCK,)
        assert find_runs(tmp_path) == [recorder.path]
        assert recorder.finish() == packed
    assert len(read_run(packed).measurements) == 2
    assert find_runs(tmp_path) == [packed]


def test_the_same_records_compress_to_the_same_bytes(tmp_path) -> None:
    """No time and no file name enters the compressed file; finishing twice changes nothing."""
    contents = []
    for folder in ("a", "b", "a"):
        with Recorder.open(tmp_path / folder, header()) as recorder:
            if not recorder.measurements:
                recorder.append(BLOCK)
            contents.append(recorder.finish().read_bytes())
        assert not recorder.path.exists()
    assert contents[0] == contents[1] == contents[2]
    assert contents[0][4:8] == bytes(4)  # RFC 1952: the time of compression


def test_other_runs_of_a_folder_are_found_by_name(tmp_path) -> None:
    """Live and compressed files, and nothing that is only half written."""
    for name in ("b", "a"):
        recorded(tmp_path, run=name)
    (tmp_path / "records" / ".c.jsonl").write_text("")
    (tmp_path / "records" / "notes.txt").write_text("")
    assert [path.name for path in find_runs(tmp_path)] == ["a.jsonl", "b.jsonl"]
    assert find_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(("name", "value"), [("host_id", "ee"), ("weights", "plants40")])
def test_other_hosts_and_weights_are_not_mixed_in(tmp_path, name, value) -> None:
    """A file that came from elsewhere under the same name is refused, and unharmed."""
    before = recorded(tmp_path, BLOCK).read_bytes()
    with pytest.raises(RecordError, match=f"{name}.*never mixed"):
        Recorder.open(tmp_path, header(**{name: value}))
    assert (tmp_path / "records" / "default-1.jsonl").read_bytes() == before


def test_one_process_records_at_a_time(tmp_path) -> None:
    """A second recorder is refused, and works once the first is closed."""
    with (
        Recorder.open(tmp_path, header()),
        pytest.raises(RecordError, match="another run is recording"),
    ):
        Recorder.open(tmp_path, header(run="another"))
    Recorder.open(tmp_path, header(run="another")).close()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_run_cannot_be_named_out_of_its_folder(tmp_path, name) -> None:
    """The name of a run becomes the name of a file."""
    with pytest.raises(ValueError, match="name of a run"):
        Recorder.open(tmp_path, header(run=name))


def test_disk_full_in_the_middle_of_a_line(tmp_path, monkeypatch) -> None:
    """Half a line is written, then ENOSPC: a sentence, the half line gone, going on works."""
    write = os.write

    def nearly_full(descriptor: int, data) -> int:
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Recorder.open(tmp_path, header()) as recorder:
        recorder.append(BLOCK)
        before = recorder.path.read_bytes()
        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(
            RecordError, match=r"disk full.* the 1 blocks measured so far"
        ) as caught:
            recorder.append(BLOCK)
        assert str(recorder.path) in str(caught.value)
        assert recorder.path.read_bytes() == before
        monkeypatch.undo()
        recorder.append(replace(BLOCK, round=1))
    assert len(read_run(recorder.path).measurements) == 2


LIMITED = """
import resource, sys
from pathlib import Path
from bench.record import Measurement, Recorder, RecordError, read_run
path = Path(sys.argv[1])
run = read_run(path)
size = path.stat().st_size
with Recorder.open(path.parent.parent, run.header) as recorder:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
    try:
        recorder.append(run.measurements[0])
    except RecordError as exc:
        print(exc)
"""


def test_a_real_limit_on_the_file_reads_like_a_full_disk(tmp_path) -> None:
    """The kernel takes 50 bytes of the line and refuses the rest."""
    path = recorded(tmp_path, BLOCK)
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.startswith("disk full")
    assert "the 1 blocks measured so far are intact" in done.stdout
    assert path.read_bytes() == before


def test_disk_full_while_compressing_keeps_the_live_file(tmp_path, monkeypatch) -> None:
    """Neither the records nor an older compressed file are lost, and nothing is left over."""
    with Recorder.open(tmp_path, header()) as recorder:
        recorder.append(BLOCK)

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RecordError, match="disk full"):
            recorder.finish()
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["default-1.jsonl"]
    assert read_run(recorder.path).measurements == (BLOCK,)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path) -> None:
    """--out may name a file."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(RecordError, match="no records can be kept in .*taken"):
        Recorder.open(tmp_path / "taken", header())


def test_a_written_file_is_replaced_as_a_whole(tmp_path) -> None:
    """The new bytes, and no temporary file beside them."""
    target = tmp_path / "README.md"
    target.write_text("old")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def changed(path: Path, line: int, **fields) -> None:
    """Change or add fields of one line (from 1) of a record file."""
    lines = path.read_text().splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | fields)
    path.write_text("\n".join(lines) + "\n")


def test_another_schema_is_refused_by_number(tmp_path) -> None:
    """The sentence names the file and both numbers, whatever else the header holds."""
    path = recorded(tmp_path, BLOCK)
    changed(path, 1, schema=SCHEMA + 1, novelty=3)
    with pytest.raises(
        RecordError, match=rf"default-1.jsonl line 1: schema {SCHEMA + 1}.*{SCHEMA}"
    ):
        read_run(path)


@pytest.mark.parametrize("line", [1, 2])
def test_a_field_that_we_do_not_know_is_refused(tmp_path, line) -> None:
    """A typo in a file must not pass in silence; file, line and field are named."""
    path = recorded(tmp_path, BLOCK)
    changed(path, line, lode_s=3)
    with pytest.raises(RecordError, match=rf"default-1.jsonl line {line}: .*lode_s"):
        read_run(path)


def test_a_broken_line_in_the_middle_is_refused(tmp_path) -> None:
    """Only the last line can be torn; anything else is damage."""
    path = recorded(tmp_path, BLOCK, BLOCK)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9] + b"\n" + lines[2])
    with pytest.raises(RecordError, match=r"default-1.jsonl line 2: "):
        read_run(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"# Results\n", b"[1]\n", b'{"a": 1}\n', b"3\n", b"\xff\xfe\n", b"[" * 9999],
)
def test_a_foreign_file_is_refused(tmp_path, content) -> None:
    """Named with its first line, and never a traceback."""
    path = tmp_path / "foreign.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"foreign.jsonl line 1: not the header"):
        read_run(path)


def test_a_damaged_compressed_file_is_refused(tmp_path) -> None:
    """Cut off, not gzip at all, or a file that unpacks without end."""
    packed = tmp_path / "run.jsonl.gz"
    whole = gzip.compress(recorded(tmp_path, BLOCK).read_bytes())
    for content in (whole[:-9], whole[: len(whole) // 2], b"not gzip", b""):
        packed.write_bytes(content)
        with pytest.raises(RecordError, match=r"run\.jsonl\.gz"):
            read_run(packed)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch) -> None:
    """A small file can hide a large one."""
    monkeypatch.setattr("bench.record.MAX_BYTES", 1000)
    packed = tmp_path / "bomb.jsonl.gz"
    packed.write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(RecordError, match="more than 1000 bytes"):
        read_run(packed)


def test_a_missing_file_is_a_sentence(tmp_path) -> None:
    """Not found is said like any other trouble."""
    with pytest.raises(RecordError, match="cannot be read"):
        read_run(tmp_path / "none.jsonl")


def keyed(key: str, number: int, load_s: float = 0.0, case: Case = CASE) -> Measurement:
    """A block on the artifact with this key."""
    return replace(BLOCK, case=case, round=number, load_s=load_s, file=facts(key))


def test_the_last_of_several_blocks_of_one_round_counts() -> None:
    """A round that was measured again replaces the first try; blocks stand by round."""
    blocks = [keyed("k", 1), keyed("k", 0, 1.0), keyed("k", 0, 2.0)]
    assert current_blocks(blocks) == {CASE: (blocks[2], blocks[0])}


def test_a_rebuilt_artifact_supersedes() -> None:
    """Blocks on the older file of that case no longer count; other cases keep theirs."""
    other = keyed("old", 0, case=OTHER)
    blocks = [keyed("old", 0), keyed("old", 1), other, keyed("new", 0)]
    assert current_blocks(blocks) == {CASE: (blocks[3],), OTHER: (other,)}


def test_a_block_without_a_file_belongs_to_the_artifact_of_its_time() -> None:
    """A child that crashed keeps its place; a build that failed earlier is superseded."""
    crashed = Measurement(CASE, 1, "failed", "killed")
    blocks = [Measurement(CASE, 0, "failed", "no build"), keyed("new", 0), crashed]
    assert current_blocks(blocks) == {CASE: (blocks[1], crashed)}


def test_a_file_of_the_first_schema_is_still_read(tmp_path) -> None:
    """What schema 2 brought may be absent: hours of measuring are not thrown away."""
    path = recorded(tmp_path, BLOCK)
    lines = path.read_bytes().splitlines()
    first = json.loads(lines[0]) | {"schema": 1}
    block = json.loads(lines[1])
    for name in ("read_s", "cold_start_s", "cold", "idle_cpu_s", "canary", "execution", "block_s"):
        del block[name]
    del block["load_test"], block["case"]["copy"], first["peaks"]
    path.write_text(f"{json.dumps(first)}\n{json.dumps(block)}\n")
    assert read_run(path).measurements == (BLOCK,)


def test_a_header_that_learns_more_keeps_the_blocks(tmp_path) -> None:
    """What is known only once the run is open: blocks before and after it stand behind it."""
    known = (Peaks(2, {"fp32": 1e9}, 1e10, {"fp32": "ort"}),)
    with Recorder.open(tmp_path, header()) as recorder:
        recorder.append(Measurement(CASE, 0, "failed", "one"))
        recorder.amend(replace(recorder.header, peaks=known))
        recorder.append(Measurement(CASE, 1, "failed", "two"))
        recorder.finish()
    found = read_run(find_runs(tmp_path)[0])
    assert found.header == replace(header(), peaks=known)
    assert [block.reason for block in found.measurements] == ["one", "two"]


def test_a_header_of_another_run_is_refused(tmp_path) -> None:
    """A caller's mistake, not another file."""
    with (
        Recorder.open(tmp_path, header()) as recorder,
        pytest.raises(ValueError, match="other is not the run"),
    ):
        recorder.amend(replace(recorder.header, run="other"))
