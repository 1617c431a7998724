"""The hashes of a bundle and of a results folder, recomputed; nothing is opened but to be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bench import bundle, bundle_files, report
from bench.bundle import Bundle, Link
from bench.bundle_text import numbers
from bench.claims import Claim, held
from bench.record import FileFacts, current_blocks, find_runs, read_run
from bench.rows import Row, Table
from bench.verify_chain import Places, files_behind, models_in, own_files
from export.artifact import Artifact, Store, folder_sha256

_SHOWN = 3
UNREADABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a file of a stranger's may raise where it is read, besides ``OSError``: one that says it is
larger than it is, nested without end, of numbers without end."""


def of_bundle(found: Bundle, places: Places) -> Iterator[Claim]:
    """What holds of a bundle without running anything of it."""
    checks = {
        f"the files of {bundle.SUMS}": _sums,
        "the model is the one that was measured": _model,
        "what runs follows from the row and its file": _runs,
        "the chain of keys": _chain,
        "the files behind the model": lambda what, found: _behind(what, found, places),
        "the README's numbers follow from the record": _readme,
    }
    for what, check in checks.items():
        yield _guarded(what, check, found)


def _guarded(what: str, check: Callable[[str, Bundle], Claim], found: Bundle) -> Claim:
    """A file that is gone, or is none of its kind, refutes its claim and hides no other."""
    try:
        return check(what, found)
    except OSError as exc:
        return held(what, [f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)])
    except UNREADABLE as exc:
        return held(what, [f"{type(exc).__name__}: {exc}"])


def row_of(found: Bundle) -> tuple[Row, Table]:
    """The bundle's row as its own blocks have it, alone in a table."""
    blocks = current_blocks(found.run.measurements).get(found.provenance.case, ())
    row = Row(found.provenance.case, blocks, found.provenance.usual_canary_s)
    header = found.run.header
    return row, Table((row,), frozenset(), header.blocks, header.peaks, labelled=header.labelled)


def _sums(what: str, found: Bundle) -> Claim:
    folder = found.folder
    said, there = bundle.read_sums(folder), bundle.names(folder)
    lost = [f"{name} is missing" for name in said if name not in there]
    strange = [f"{name} is in no line{_cached(name)}" for name in there if name not in said]
    other = [
        f"{name} has another hash"
        for name in there
        if name in said and bundle.sha256(folder / name) != said[name]
    ]
    return held(what, [*lost, *other, *strange], f"{len(said)} files")


def _cached(name: str) -> str:
    """Python would run what stands there in place of the file that it is named after."""
    return " (remove Python's cache)" if "__pycache__" in name.split("/") else ""


def _model(what: str, found: Bundle) -> Claim:
    """One hash in four places: the folder, the artifact, the end of the chain, the record."""
    digest = folder_sha256(found.folder / bundle.FILES)
    facts = row_of(found)[0].file
    last = found.provenance.chain[-1] if found.provenance.chain else Link("")
    artifact = found.provenance.artifact
    places = {
        "provenance.json": (artifact.key, artifact.sha256),
        "the end of its chain": (last.key, last.sha256),
        "the record": (facts.key, facts.sha256) if facts else ("", ""),
    }
    other = [
        f"{place} has {key or 'no key'} with {sha256[:12] or 'no hash'}, the folder {digest[:12]}"
        for place, (key, sha256) in places.items()
        if (key, sha256) != (artifact.key, digest)
    ]
    return held(what, other, f"sha256 {digest[:12]}")


def _runs(what: str, found: Bundle) -> Claim:
    """Preprocessing, classes, threads and code are what this version makes for that row."""
    case, artifact = found.provenance.case, found.provenance.artifact
    model = bundle_files.model_of(case, artifact, bundle.read_answers(found.folder))
    said, due = (json.loads(bundle.MODEL_JSON.dump_json(one)) for one in (found.model, model))
    wrong = [f"{bundle.MODEL} has another {name}" for name in due if said[name] != due[name]]
    wrong += [
        f"{name} is not what this version of deploybench writes"
        for name, text in bundle_files.texts(model).items()
        if (found.folder / name).read_text(encoding="utf-8") != text
    ]
    facts = row_of(found)[0].file
    if facts and facts.preprocess not in ("", artifact.preprocess):
        wrong.append("the record has another preprocessing")
    return held(what, wrong)


def _chain(what: str, found: Bundle) -> Claim:
    """Every key is the hash of what its file was made from, the file above it included."""
    chain = found.provenance.chain
    known = [link for link in (*chain, found.provenance.reference) if link.provenance]
    wrong = [
        f"{link.key} is not made from its provenance" for link in known if not bundle.follows(link)
    ]
    wrong += [
        f"{after.key} was not made from {before.key}"
        for before, after in pairwise(chain)
        if after.provenance.get("source") != before.key
    ]
    gone = [link.key for link in (*chain, found.provenance.reference) if not link.provenance]
    if wrong or not gone:
        return held(what, wrong, " <- ".join(link.key for link in reversed(chain)))
    text = f"{', '.join(gone)} was gone from the store when it was packed"
    return Claim(what, "cannot tell", text)


def _behind(what: str, found: Bundle, places: Places) -> Claim:
    """What the model was made from, where it is at hand; the model itself is in the bundle."""
    chain, recorded = found.provenance.chain, models_in(found.run.header.command)
    links = (*chain[:-1], found.provenance.reference)
    return files_behind(what, links, own_files(chain), replace(places, recorded=recorded))


def _readme(what: str, found: Bundle) -> Claim:
    text = (found.folder / bundle.README).read_text(encoding="utf-8").splitlines()
    lost = [line for line in numbers(*row_of(found)) if line not in text]
    trouble = [f"the record says {line}" for line in lost[:_SHOWN]]
    return held(what, trouble)


def of_results(out: Path, places: Places) -> Iterator[Claim]:
    """That the pages follow from the records, and the files in the store are those of them."""
    found = report.checked(out)
    lines = found.difference.splitlines()
    trouble = [" ".join(lines[:_SHOWN])] if lines else []
    yield held("the pages follow from the records", trouble, found.unchecked)
    for path in find_runs(out):
        run = read_run(path)
        blocks = (block for own in current_blocks(run.measurements).values() for block in own)
        files = {block.file.key: block.file for block in blocks if block.file}
        what = f"the files of run {run.header.run}"
        yield _stored(what, list(files.values()), places.store)
        if links := _links(files, places.store):
            recorded = models_in(run.header.command)
            yield files_behind(
                f"the files behind those of run {run.header.run}",
                [link for link in links if link.key not in files],
                own_files(links),
                replace(places, recorded=recorded),
            )


def _links(keys: Iterable[str], store: Store) -> list[Link]:
    """Those of ``keys`` that are in the store, with all that they were made from, each once."""
    links: dict[str, Link] = {}
    for artifact in filter(None, map(store.find, keys)):
        chain = (*bundle.chain_of(artifact, store), bundle.reference_of(artifact, store))
        links |= {link.key: link for link in chain}
    return list(links.values())


def _stored(what: str, files: list[FileFacts], store: Store) -> Claim:
    there = {facts.key: store.find(facts.key) for facts in files}
    found = [artifact for artifact in there.values() if artifact is not None]
    said = {facts.key: facts.sha256 for facts in files}
    wrong = [reason for artifact in found for reason in _wrong(artifact, said[artifact.key])]
    seen = f"{len(found)} of {len(files)} are in the store"
    if wrong or len(found) == len(files):
        return held(what, wrong, seen)
    same = ", and these are as recorded" if found else ""
    return Claim(what, "cannot tell", f"{seen}{same}")


def _wrong(artifact: Artifact, said: str) -> Iterator[str]:
    digest = folder_sha256(Path(artifact.folder))
    if digest != said:
        yield f"{artifact.key} has {digest[:12]}, the record {said[:12]}"
    if not bundle.follows(bundle.link_of(artifact)):
        yield f"{artifact.key} is not made from its provenance"
