"""The search: what it tries in which order, what it keeps, when it stops. No file is built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import choices, files, search
from bench.candidates import (
    METHODS,
    NoFile,
    Search,
    Tools,
    compared,
    grid_of,
    variations,
)
from bench.choices import Blamed, Choice, Made, Score
from bench.options import UsageError
from bench.record import Answers
from bench.search_log import SCHEMA, About, Log, Tried
from bench.search_text import table, verdict
from export.artifact import Artifact
from export.build import SEEDED, Int8, WeightsFacts
from export.images import Entry

ABOUT = About("revisited-base", "cifar10", fp32="fp32-key", images="abc", train="def", test="012")
VAL = [Entry(f"val/{i}.png", 0) for i in range(100)]
TEST = [Entry(f"test/{i}.png", 0) for i in range(50)]
RANKING = tuple(
    Blamed(name, error)
    for name, error in (("Conv_9", 0.2), ("Gemm_5", 0.1), ("Conv_0", 0.01), ("Conv_2", 0.001))
)
Right = Callable[[Int8], int]


def artifact(key: str, reference: str = "") -> Artifact:
    """A file of which only the key matters."""
    plain = dict.fromkeys(("variant", "weights", "recipe", "format", "folder", "file"), "x")
    numbers = dict.fromkeys(("size_bytes", "parameters", "nonzero_parameters", "macs"), 1)
    rest = {"sha256": "", "rounded_to_zero": 0, "placeholder_names": False}
    tuples = {"input_size": (1, 1), "class_names": ()}
    values = {"key": key, "reference": reference, **plain, **numbers, **rest, **tuples}
    return Artifact.from_plain(values)


class Lab:
    """Fakes of everything that a search asks for; remembers what was asked."""

    def __init__(self, folder: Path, right: Right) -> None:
        self.folder = folder
        self.right = right
        self.right_of_test = right
        self.built: list[Int8 | None] = []
        self.asked: list[tuple[str, int]] = []
        self.ranked: list[Int8] = []
        self.said: list[str] = []
        self.schemes: dict[str, Int8] = {}

    def tools(self) -> Tools:
        return Tools(self.build, self.ask, self.rank, self.said.append)

    def build(self, int8: Int8 | None) -> Artifact:
        self.built.append(int8)
        if int8 is None:
            return artifact("fp32-key")
        self.schemes[str(int8)] = int8
        return artifact(str(int8))

    def ask(self, file: Artifact, entries: Sequence[Entry]) -> Answers:
        self.asked.append((file.key, len(entries)))
        of = self.right_of_test if len(entries) == len(TEST) else self.right
        share = 0.9 if file.key == "fp32-key" else of(self.schemes[file.key]) / 100
        right = round(share * len(entries))
        ranks = (0,) * right + (1,) * (len(entries) - right)
        return Answers(ranks, ranks)

    def rank(self, fp32: Artifact, int8: Int8) -> tuple[Blamed, ...]:
        self.ranked.append(int8)
        return RANKING

    def search(self, max_drop: float = 1.0) -> Search:
        path = self.folder / "revisited-base@cifar10.jsonl"
        draft = Choice("revisited-base", "cifar10", Int8(), "cifar10.zip", max_drop)
        return Search(self.tools(), Log.open(path, ABOUT), draft, VAL)

    def choice(self) -> Choice:
        return choices.read(choices.path_of(self.folder, "revisited-base", "cifar10"))


def best_is(wanted: Int8, points: int = 90, otherwise: int = 80) -> Right:
    """One scheme names ``points`` images of 100 rightly, all others fewer."""
    return lambda int8: points if int8 == wanted else otherwise


def test_methods_first_then_variations_of_the_best(tmp_path: Path) -> None:
    """Every method with every number of images, then other types under the best of them."""
    best = Int8("percentile", 99.99, 64)
    lab = Lab(tmp_path, best_is(best))
    found = lab.search().run(grid_of((16, 64)))
    assert found is not None and found.int8 == best
    tried = [int8 for int8 in lab.built if int8 is not None]
    assert tried == [*grid_of((16, 64)), *variations(best)]
    assert [x.images for x in tried[:10]] == [16] * 5 + [64] * 5
    assert {replace(x, images=16) for x in tried[:10]} == set(METHODS)


def test_fp32_is_asked_once(tmp_path: Path) -> None:
    """All candidates are compared with the same answers to the same images."""
    lab = Lab(tmp_path, lambda int8: 90)
    lab.search().run(METHODS)
    assert [count for key, count in lab.asked if key == "fp32-key"] == [100]


def test_of_equals_the_simplest_wins(tmp_path: Path) -> None:
    """The first of the best: fewer images, plainer method, usual types."""
    lab = Lab(tmp_path, lambda int8: 70 if int8.method == "minmax" and int8.images == 16 else 90)
    found = lab.search().run(grid_of((16, 64)))
    assert found is not None and found.int8 == Int8("entropy")


@pytest.mark.parametrize(("signed", "first"), [(90, "u8"), (88, "s8")])
def test_unsigned_comes_first_where_both_keep_the_limit(tmp_path, signed, first) -> None:
    """Where neither does, the more accurate one is the best so far."""
    limit_missed = signed == 88
    points = {"u8": 87 if limit_missed else 89, "s8": signed}
    lab = Lab(tmp_path, lambda int8: points[int8.activation_type])
    going = lab.search()
    for kind in ("u8", "s8"):
        going.attempt(Int8(activation_type=kind))
    assert going.best is not None and going.best.int8.activation_type == first


def test_the_best_so_far_stands_in_the_choice_file(tmp_path: Path) -> None:
    """After every improvement, so that a stop at any time costs no more than what was running."""
    points = {Int8("minmax"): 80, Int8("entropy"): 85, Int8("percentile"): 83}
    seen = []
    lab = Lab(tmp_path, points.__getitem__)
    going = lab.search()
    for int8 in points:
        going.attempt(int8)
        seen.append((lab.choice().int8.method, lab.choice().finished, lab.choice().tried))
    assert seen == [("minmax", False, 1), ("entropy", False, 2), ("entropy", False, 3)]
    assert [line.endswith("<- best so far") for line in lab.said] == [True, True, False]
    assert lab.choice().val == Score(images=100, fp32=90, int8=85, lost=5, gained=0)


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    """What was measured is not measured again; the outcome is that of one go."""
    right = best_is(Int8("percentile", 99.9), 89)
    whole = Lab(tmp_path / "whole", right)
    expected = whole.search().run(grid_of((16, 64)))

    lab = Lab(tmp_path / "stopped", right)
    build = lab.build

    def stopping(int8: Int8 | None) -> Artifact:
        if len(lab.built) == 7:
            raise KeyboardInterrupt
        return build(int8)

    lab.build = stopping  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        lab.search().run(grid_of((16, 64)))
    assert lab.choice().int8 == Int8("percentile", 99.9)
    before = [int8 for int8 in lab.built if int8]
    again = Lab(tmp_path / "stopped", right)
    found = again.search().run(grid_of((16, 64)))
    assert found is not None and expected is not None
    assert (found.int8, found.score) == (expected.int8, expected.score)
    after = [int8 for int8 in again.built if int8]
    assert before + after == [int8 for int8 in whole.built if int8]


def test_a_line_cut_off_is_measured_again(tmp_path: Path) -> None:
    """A search that was killed while writing goes on from the last whole line."""
    lab = Lab(tmp_path, lambda int8: 90)
    lab.search().run(METHODS)
    path = tmp_path / "revisited-base@cifar10.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    log = Log.open(path, ABOUT)
    assert len(log.lines) == len(METHODS) + 3 - 1
    assert path.read_bytes().endswith(b"\n")


def test_a_failed_candidate_is_no_end(tmp_path: Path) -> None:
    """Its reason is kept and shown, by another start as well, which does not try it again."""
    lab = Lab(tmp_path, lambda int8: 90)
    build = lab.build

    def failing(int8: Int8 | None) -> Artifact:
        file = build(int8)
        if int8 == Int8("minmax"):
            raise NoFile("out of memory")
        return file

    lab.build = failing  # type: ignore[method-assign]
    found = lab.search().run(METHODS)
    assert found is not None and found.int8 == Int8("entropy")
    assert lab.said[0] == "minmax, 16 images, per channel, u8 x s8: no result: out of memory"
    again = Lab(tmp_path, lambda int8: 90)
    found = again.search().run(METHODS)
    assert again.built == []
    assert again.said[0] == f"{lab.said[0]} (so the log says; --fresh tries it again)"
    assert found is not None and found.int8 == Int8("entropy")


class Stopped(Lab):
    """Stopped before its step number ``stop``; the first file of some schemes fails, once."""

    def __init__(self, folder: Path, accidents: set[Int8], stop: int = 0) -> None:
        super().__init__(folder, by_layers)
        self.accidents = accidents
        self.stop = stop
        self.steps = 0

    def tools(self) -> Tools:
        plain = super().tools()
        return Tools(*(self.step(x) for x in (plain.build, plain.ask, plain.rank, plain.say)))

    def step(self, tool: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*values: Any) -> Any:
            self.steps += 1
            if self.steps == self.stop:
                raise KeyboardInterrupt
            return tool(*values)

        return stepping

    def build(self, int8: Int8 | None) -> Artifact:
        if int8 in self.accidents:
            self.accidents.remove(int8)
            raise NoFile("out of memory")
        return super().build(int8)

    def whole(self) -> bytes:
        """The choice that a search from beginning to end writes."""
        going = self.search()
        going.run(grid_of((16, 64)))
        going.finish(TEST)
        return self.written()

    def written(self) -> bytes:
        """The choice file."""
        return choices.path_of(self.folder, "revisited-base", "cifar10").read_bytes()


def by_layers(int8: Int8) -> int:
    """Many equals, and two layers that have to stay in fp32."""
    return 83 + min(6, 3 * len(int8.keep_fp32)) + (int8.method == "minmax")


def accidents() -> set[Int8]:
    """Of the two best schemes, and of one that was worse."""
    return {Int8("minmax"), Int8("minmax", images=64), Int8("percentile", 99.9)}


def test_a_search_stopped_anywhere_chooses_the_same(tmp_path: Path) -> None:
    """After each step in turn; accidents, equals and layers left in fp32 included."""
    unbroken = Stopped(tmp_path / "unbroken", accidents())
    expected = unbroken.whole()
    assert choices.read(tmp_path / "unbroken/revisited-base@cifar10.json").int8 == Int8(
        "entropy", keep_fp32=("Conv_9", "Gemm_5")
    )
    for stop in range(1, unbroken.steps + 1):
        folder, left = tmp_path / str(stop), accidents()
        with pytest.raises(KeyboardInterrupt):
            Stopped(folder, left, stop).whole()
        assert Stopped(folder, left).whole() == expected, f"stopped before step {stop}"


def test_a_finished_choice_stays_while_its_search_is_gone_through_again(tmp_path: Path) -> None:
    """Its user may build from it meanwhile, and a stop must not leave less than there was."""
    finished = Stopped(tmp_path, accidents())
    expected = finished.whole()
    again = Stopped(tmp_path, set())
    assert again.whole() == expected
    for stop in range(1, again.steps + 1):
        with pytest.raises(KeyboardInterrupt):
            Stopped(tmp_path, set(), stop).whole()
        assert finished.written() == expected


def test_a_wider_search_keeps_the_choice_until_it_has_its_own(tmp_path: Path) -> None:
    """What is tried in addition counts when all of it was tried."""
    lab = Lab(tmp_path, lambda int8: 85 + (int8.images == 64))
    going = lab.search(max_drop=10)
    going.run(grid_of((16,)))
    first = going.finish(TEST)
    going = lab.search(max_drop=10)
    going.run(grid_of((16, 64)))
    assert lab.choice() == first
    assert going.finish(TEST).int8.images == 64


def looked(lab: Lab, *limits: float) -> Choice:
    """The choice after searches with these limits, one after the other."""
    for limit in limits:
        going = lab.search(max_drop=limit)
        going.run(METHODS)
        going.finish(TEST)
    return lab.choice()


def by_freed_layers(int8: Int8) -> int:
    """Each layer that goes back to fp32 brings a point."""
    return 86 + len(int8.keep_fp32) if int8.method == "minmax" else 80


def test_a_second_look_at_the_test_part_is_told(tmp_path: Path) -> None:
    """Another limit, another pick: counted in the choice, its verdict and the log."""
    lab = Lab(tmp_path, by_freed_layers)
    first = looked(lab, 3)
    assert (first.looks, len(first.int8.keep_fp32)) == (1, 1)
    assert "times" not in first.verdict
    second = looked(lab, 1)
    assert (second.looks, len(second.int8.keep_fp32)) == (2, 3)
    assert "; test was looked at 2 times by now: its figures are those of one" in second.verdict
    last = (tmp_path / "revisited-base@cifar10.jsonl").read_text().splitlines()[-1]
    assert "test was looked at 2 times" in json.loads(last)["verdict"]
    assert [key for key, count in lab.asked if count == len(TEST)].count("fp32-key") == 2


def test_an_answer_read_again_is_no_look(tmp_path: Path) -> None:
    """The same pick is not asked again, but keeps the count that its search has come to."""
    assert looked(Lab(tmp_path, by_freed_layers), 3, 3).looks == 1
    assert looked(Lab(tmp_path, by_freed_layers), 1, 3, 1).looks == 2


@pytest.mark.parametrize(("test", "looks"), [(ABOUT.test, 3), ("other images", 0)])
def test_to_begin_anew_forgets_no_look(tmp_path: Path, test: str, looks: int) -> None:
    """``--fresh`` keeps the count of looks at the same test part, through every beginning."""
    looked(Lab(tmp_path, by_freed_layers), 3, 1)
    path = tmp_path / "revisited-base@cifar10.jsonl"
    about = replace(ABOUT, fp32="another")
    log = Log.open(path, about, fresh=True)
    log.add_test(Int8(), Score(10, 9, 9, 0, 0), "")
    assert (Log.open(path, about).looks, log.finished) == (3, True)
    assert Log.open(path, replace(about, test=test), fresh=True).looks == looks


def test_a_file_that_is_no_log_gives_way(tmp_path: Path) -> None:
    """To ``--fresh``: nobody knows of looks in it."""
    path = tmp_path / "a@b.jsonl"
    path.write_text("no log\n")
    assert Log.open(path, ABOUT, fresh=True).looks == 0


def test_weights_that_change_meanwhile_are_noticed(tmp_path: Path) -> None:
    """Candidates of other weights than fp32's would be better or worse for another reason."""
    lab = Lab(tmp_path, lambda int8: 90)
    lab.build = lambda int8: artifact("x", "before" if int8 is None else "after")  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="have changed since its fp32 file was built"):
        lab.search().run(METHODS)


def test_no_layer_is_freed_while_the_limit_is_kept(tmp_path: Path) -> None:
    """Leaving layers in fp32 costs speed: it is done only where it must be."""
    lab = Lab(tmp_path, lambda int8: 89)
    lab.search(max_drop=1.0).run(METHODS)
    assert lab.ranked == []


def test_layers_go_back_to_fp32_until_the_limit_is_kept(tmp_path: Path) -> None:
    """The worst first, one more each time, under the best scheme; no further than needed."""
    base = Int8("entropy")
    points = {0: 84, 1: 86, 2: 89, 3: 90}
    lab = Lab(tmp_path, lambda x: points[len(x.keep_fp32)] if x.method == "entropy" else 80)
    going = lab.search(max_drop=1.0)
    found = going.run(METHODS)
    assert lab.ranked == [base]
    kept = [x.keep_fp32 for x in lab.built if x and x.keep_fp32]
    assert kept == [("Conv_9",), ("Conv_9", "Gemm_5")]
    assert found is not None and found.int8 == replace(base, keep_fp32=("Conv_9", "Gemm_5"))
    choice = lab.choice()
    assert (choice.met_on_val, choice.blamed) == (True, RANKING[:2])
    assert verdict(choice).splitlines()[-3:] == [
        "to blame, the worst first (1 - cosine with fp32 when this layer alone is in INT8):",
        "  0.20000  Conv_9  left in fp32",
        "  0.10000  Gemm_5  left in fp32",
    ]


def test_a_ranking_is_made_once(tmp_path: Path) -> None:
    """It takes minutes: another start takes it from the log."""
    Lab(tmp_path, lambda int8: 80 + len(int8.keep_fp32)).search().run(METHODS)
    lab = Lab(tmp_path, lambda int8: 80)
    lab.search().run(METHODS)
    assert (lab.ranked, lab.built) == ([], [])


def test_a_limit_that_nothing_keeps_is_said(tmp_path: Path) -> None:
    """After as many layers as are allowed the best stays, and the verdict says what it is."""
    lab = Lab(tmp_path, lambda int8: 80 + len(int8.keep_fp32))
    going = lab.search(max_drop=1.0)
    going.run(METHODS, most_kept=3)
    choice = going.finish(TEST)
    assert (choice.int8.keep_fp32, choice.met) == (("Conv_9", "Gemm_5", "Conv_0"), False)
    assert "at most 1 points lost: NOT kept on val, -7 (" in verdict(choice)
    assert "this is the best of" in verdict(choice)


@pytest.mark.parametrize("most", [0, 2])
def test_a_limit_that_nothing_keeps_has_layers_to_blame(tmp_path: Path, most: int) -> None:
    """Where leaving them in fp32 doesn't help, or isn't allowed: the worst, with their harm."""
    lab = Lab(tmp_path, lambda int8: 80 - len(int8.keep_fp32))
    going = lab.search(max_drop=1.0)
    going.run(METHODS, most_kept=most)
    choice = going.finish(TEST)
    assert (choice.int8.keep_fp32, choice.blamed) == ((), RANKING)
    assert json.loads(choices.path_of(tmp_path, "revisited-base", "cifar10").read_text())["blamed"][
        0
    ] == {"name": "Conv_9", "error": 0.2, "layer": ""}
    assert verdict(choice).splitlines()[-4:] == [
        "  0.20000  Conv_9",
        "  0.10000  Gemm_5",
        "  0.01000  Conv_0",
        "  0.00100  Conv_2",
    ]


def test_the_test_part_is_asked_once(tmp_path: Path) -> None:
    """Only the pick, only afterwards, and not again by another start."""
    lab = Lab(tmp_path, best_is(Int8("entropy")))
    going = lab.search()
    going.run(METHODS)
    assert {count for _, count in lab.asked} == {100}
    choice = going.finish(TEST)
    assert [key for key, count in lab.asked if count == 50] == ["fp32-key", str(Int8("entropy"))]
    assert choice.finished
    assert choice.test == Score(images=50, fp32=45, int8=45, lost=0, gained=0)
    again = Lab(tmp_path, best_is(Int8("entropy")))
    going = again.search()
    going.run(METHODS)
    assert going.finish(TEST) == choice
    assert again.asked == []


def test_both_parts_are_judged(tmp_path: Path) -> None:
    """What the validation part keeps the test part may not: log, choice and table say so."""
    lab = Lab(tmp_path, lambda int8: 89)
    lab.right_of_test = lambda int8: 80
    going = lab.search(max_drop=1.0)
    going.run(METHODS)
    choice = going.finish(TEST)
    assert (choice.met_on_val, choice.met_on_test, choice.met) == (True, False, False)
    assert choice.verdict == (
        "at most 1 points lost: kept on val, -1 (-5 to +3), McNemar p 1.0, could have shown a "
        "drop of 7.8 points; NOT kept on test, -10 (-21 to -2), McNemar p 0.062, could have shown "
        "a drop of 15 points"
    )
    assert json.loads(going.log.path.read_text().splitlines()[-2])["verdict"] == choice.verdict
    assert choice.verdict in verdict(choice)
    assert (choice.int8, choice.blamed) == (Int8("minmax"), RANKING)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(choice).split("\n")]
    assert cells[2][:6] == ["val", "100", "90.00", "89.00", "1", "0"]
    assert cells[3][:6] == ["test", "50", "90.00", "80.00", "5", "0"]
    assert [line[-1] for line in cells[2:]] == ["kept", "NOT kept"]


def test_another_search_in_the_same_place_is_refused(tmp_path: Path) -> None:
    """Results about other images or weights would be taken for these: --fresh begins anew."""
    path = tmp_path / "a@b.jsonl"
    Log.open(path, ABOUT).add(Tried(Int8(), "key", Score(10, 9, 9, 0, 0)))
    with pytest.raises(UsageError, match="about other fp32 files, other test images: say --fresh"):
        Log.open(path, replace(ABOUT, fp32="x", test="y"))
    assert Log.open(path, ABOUT).find(Int8()) is not None
    assert Log.open(path, replace(ABOUT, images="y"), fresh=True).find(Int8()) is None


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    """An unknown key in a line, or another file altogether."""
    path = tmp_path / "a@b.jsonl"
    Log.open(path, ABOUT).add(Tried(Int8()))
    path.write_text(path.read_text() + json.dumps({"colour": "red"}) + "\n")
    with pytest.raises(UsageError, match="is no log of a search"):
        Log.open(path, ABOUT)


def test_a_log_of_another_schema_is_named(tmp_path: Path) -> None:
    """One without a number is the first's and is gone on with; a later one is not guessed at."""
    path = tmp_path / "a@b.jsonl"
    Log.open(path, ABOUT).add(Tried(Int8()))
    head, *rest = path.read_text().splitlines(keepends=True)
    plain = json.loads(head)
    assert plain.pop("schema") == SCHEMA
    path.write_text("".join([json.dumps(plain) + "\n", *rest]))
    assert Log.open(path, ABOUT).find(Int8()) is not None
    path.write_text("".join([json.dumps({**plain, "schema": 9}) + "\n", *rest]))
    with pytest.raises(UsageError, match=r"a@b.jsonl .* schema 9, but .* up to schema 3: go on"):
        Log.open(path, ABOUT)


MADE = Made("2026-01-02", "python -m bench.search", "abc1234", {"CPU": "one"}, {"onnx": "1.0"})


def test_a_log_and_its_choice_say_where_the_search_was_begun(tmp_path: Path) -> None:
    """Command, commit, host and versions; going on elsewhere is the same search, begun there."""
    path = tmp_path / "revisited-base@cifar10.jsonl"
    Log.open(path, replace(ABOUT, made=MADE))
    assert json.loads(path.read_text())["made"]["command"] == MADE.command
    lab = Lab(tmp_path, lambda int8: 90)
    draft = Choice("revisited-base", "cifar10", Int8(), "cifar10.zip", 1.0)
    elsewhere = replace(ABOUT, made=replace(MADE, commit="def5678"))
    going = Search(lab.tools(), Log.open(path, elsewhere), draft, VAL)
    going.run(METHODS)
    assert lab.choice().made == MADE
    assert going.finish(TEST).made == MADE


def test_a_choice_keeps_what_plain_min_max_came_to(tmp_path: Path) -> None:
    """Beside the best: what it is worth to search; nothing where that was not tried."""
    lab = Lab(tmp_path, best_is(Int8("entropy"), 90, 70))
    lab.search().run(METHODS)
    assert lab.choice().plain == Score(images=100, fp32=90, int8=70, lost=20, gained=0)
    other = Lab(tmp_path / "other", lambda int8: 90)
    other.search().run((Int8("entropy"),))
    assert other.choice().plain is None


def test_layers_to_blame_are_called_as_their_weights(tmp_path: Path) -> None:
    """The node's name stands behind: it is what --int8-choice tells the quantiser."""
    lab = Lab(tmp_path, lambda int8: 80)
    lab.rank = lambda fp32, int8: (Blamed("Conv_9", 0.2, "block1.conv"),)  # type: ignore[method-assign]
    going = lab.search()
    going.run(METHODS, most_kept=0)
    choice = going.finish(TEST)
    assert verdict(choice).endswith("  0.20000  block1.conv (Conv_9)")
    assert (choice.layer("Conv_9"), choice.layer("Conv_1")) == ("block1.conv", "Conv_1")


def test_every_committed_log_and_choice_is_read(tmp_path: Path) -> None:
    """As a search that goes on reads them; each log ends with the look that its choice tells."""
    folder = Path(__file__).parents[2] / "results" / "search"
    paths = sorted(folder.glob("*.jsonl"))
    assert paths
    for path in paths:
        copy = tmp_path / path.name
        shutil.copyfile(path, copy)
        plain = json.loads(path.read_text("utf-8").partition("\n")[0])
        about = About(**{**plain, "schema": 1})
        choice = choices.read(path.with_suffix(".json"))
        log = Log.open(copy, about)
        assert log.test(choice.int8) == choice.test
        assert log.looks == max(1, choice.looks)


def test_answers_are_compared_image_by_image() -> None:
    """Right is rank 0; what only one of the two has right is counted apart."""
    exact = Answers((0, 0, 1, 1, 2), (0, 0, 0, 1, 3))
    rounded = Answers((0, 0, 1, 1, 2), (0, 1, 2, 0, 3))
    assert compared(exact, rounded) == Score(images=5, fp32=3, int8=2, lost=2, gained=1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "a search decides by labelled images: name them with --data"),
        (["--data", "x.zip", "--max-drop", "-1"], "--max-drop -1: points that may be lost"),
        (["--data", "x.zip", "--calibration-images", "few"], "--calibration-images few: write"),
        (["--data", "x.zip", "--calibration-images", "0"], "one image is the least"),
        (["--data", "/nowhere.zip"], "/nowhere.zip doesn't exist"),
    ],
)
def test_what_can_not_be_searched_is_said(words: list[str], text: str, capsys: Any) -> None:
    """Before anything is built, with the flag and the remedy."""
    assert search.main(["-m", "revisited-base", *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--images", "-5"], ["--most-fp32", "-1"], ["-t", "few"]])
def test_numbers_that_count_nothing_are_refused(words: list[str], capsys: Any) -> None:
    """With the flag and the value, before the data is looked for."""
    with pytest.raises(SystemExit) as end:
        search.main(["-m", "revisited-base", "--data", "/nowhere.zip", *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert words[0] in error and f"{words[1]!r} is no whole number, nor 0" in error


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """Class folders with images that nobody opens."""
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            (tmp_path / "data" / part / name / "1.png").write_bytes(b"")
    return tmp_path / "data"


def faked(monkeypatch: pytest.MonkeyPatch, labs: dict[str, Lab]) -> None:
    """Searches work with the labs of their variants."""
    monkeypatch.setattr(search, "tools", lambda variant, *_: labs[variant].tools())
    monkeypatch.setattr(search, "check_classes", lambda *_: None)


def taught(*names: str) -> WeightsFacts:
    """What is known of a checkpoint that names these classes."""
    return WeightsFacts("mine", "key", class_names=names, placeholder_names=False)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (taught("cat", "cow"), "only the data has dog; only the checkpoint has cow"),
        (SEEDED, "revisited-base with its weights (seeded) has 10 classes (without names)"),
        (replace(taught("0", "1"), placeholder_names=True), "--folder-order says that they do"),
    ],
)
def test_other_classes_are_told_before_anything_is_built(
    facts: WeightsFacts,
    text: str,
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By what is known of the weights; classes in another order are the same."""
    lab = Lab(tmp_path, lambda int8: 90)
    monkeypatch.setattr(search, "tools", lambda *_: lab.tools())
    known = [facts]

    def fitting(cases: Sequence[Any], options: Any) -> files.Fitting:
        return files.Fitting(tuple(cases), weights={"revisited-base": known[-1]})

    monkeypatch.setattr(files, "fitting", fitting)
    words = ["-m", "revisited-base", "--data", str(small_data), "--weights", "seeded"]
    words += ["--out", str(tmp_path / "out")]
    assert search.main(words) == 2
    assert (text in capsys.readouterr().err, lab.built) == (True, [])
    known.append(taught("dog", "cat"))
    assert search.main(words) == 0
    assert lab.built[0] is None


@pytest.mark.parametrize(
    "problem", [NoFile("no room"), UsageError("other classes"), files.BuildError("it crashed")]
)
def test_a_variant_that_fails_is_no_end(
    problem: Exception,
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others are searched all the same; exit code and last lines name it and its reason."""
    labs = {x: Lab(tmp_path, lambda int8: 90) for x in ("revisited-base", "revisited-v1")}

    def failing(int8: Int8 | None) -> Artifact:
        raise problem

    labs["revisited-base"].build = failing  # type: ignore[method-assign]
    faked(monkeypatch, labs)
    words = ["-m", "revisited-base,revisited-v1", "--data", str(small_data)]
    words += ["--weights", "seeded", "--out", str(tmp_path / "out")]
    assert search.main(words) == 2
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["revisited-v1@seeded.json"]
    assert capsys.readouterr().err.splitlines() == [
        f"error: revisited-base: {problem}",
        "no choice for 1 of 2 variants:",
        f"  revisited-base: {problem}",
    ]


@pytest.mark.parametrize("part", ["val", "test"])
def test_data_without_a_part_is_refused(
    part: str, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing could be decided, or the choice not be judged: said before anything is built."""
    shutil.rmtree(small_data / part)
    assert search.main(["-m", "revisited-base", "--data", str(small_data)]) == 2
    assert "has no images left for a validation part" in capsys.readouterr().err


def test_weights_that_may_have_learnt_the_validation_part(
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A warning on the terminal, before and after the search, and in the choice."""
    header = json.dumps({"__metadata__": {"data": "others 0123456789ab"}}).encode()
    weights = tmp_path / "revisited-base_mine.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    faked(monkeypatch, {"revisited-base": Lab(tmp_path, lambda int8: 90)})
    words = ["-m", "revisited-base", "--data", str(small_data), "--weights", str(weights)]
    assert search.main([*words, "--out", str(tmp_path / "out")]) == 0
    choice = choices.read(tmp_path / "out" / "revisited-base@mine.json")
    assert "may have learnt the validation images" in choice.warning
    assert "it learnt from 'others 0123456789ab', and the train part" in choice.warning
    assert capsys.readouterr().out.count(f"WARNING: {choice.warning}") == 2
    # It travels: no folder of this machine stands in the command.
    assert choice.made is not None
    assert choice.made.command == (
        f"python -m bench.search -m revisited-base --data {small_data.name} --weights "
        f"{weights.name} --out out"
    )
    assert choice.made.host["CPU"] and "onnx" in choice.made.versions
