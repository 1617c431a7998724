"""What a card shows, and which one is to be shipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.dashboard.advice import ONE_PICTURE, Accuracy, Advice, advise
from bench.dashboard.cards import Card, Seen, cards, confidences, guesses
from bench.dashboard.models import Model
from bench.scores import share_interval
from tests.bench.dashboard.conftest import ModelOf
from tests.bench.made_up import measured

RIGHT = np.array([3.0, 1.0, 0.0], np.float32)
OTHER = np.array([1.0, 3.0, 0.0], np.float32)


def seen(
    model: Model, *ms: float, outputs: np.ndarray = RIGHT, passed: bool = True, runs: int = 24
) -> Seen:
    """A model that was timed in as many rounds, each with one latency."""
    blocks = measured(model.case, *ms, inferences=runs, passed=passed)
    return Seen(model, "done", outputs, 0.25, tuple(blocks))


def shown(*known: Seen, planned: int = 72) -> list[Card]:
    """The cards, the first being the baseline."""
    return cards(known, known[0].model, planned, None)


def advised(*known: Seen, accuracies: dict[str, Accuracy] | None = None) -> Advice:
    """What is said at the end of a run."""
    return advise(known, shown(*known), accuracies or {}, final=True)


def test_confidences_are_shares_of_one() -> None:
    """The softmax, however large the outputs; of equal ones the first class stands first."""
    found = confidences(np.array([1000.0, 1000.0, 0.0], np.float32))
    assert found.tolist() == [0.5, 0.5, 0.0]
    top = guesses(np.array([1.0, 2.0, 2.0, 0.0]), ("a", "b", "c", "d"))
    assert [guess.name for guess in top] == ["b", "c", "a"]
    assert sum(guess.confidence for guess in top) < 1


def test_confidences_of_a_model_that_has_them_stay_as_they_are() -> None:
    """One that ends in a softmax, as a given file may: a second one would level them."""
    given = np.array([0.9, 0.08, 0.02], np.float32)
    assert confidences(given) == pytest.approx(given)
    assert confidences(np.log(given)) == pytest.approx(given)


def test_a_card_tells_all_figures(model_of: ModelOf) -> None:
    """Texts with their units and intervals, numbers to sort by."""
    base, other = seen(model_of(), 10, 11, 9), seen(model_of("int8-dynamic"), 5, 5.5, 4.5)
    first, second = shown(base, other)
    assert (first.title, second.title) == ("Baseline", "Quantized")
    assert first.baseline and not second.baseline
    assert first.speedup.text == "baseline"
    assert second.speedup.value == pytest.approx(2)
    assert second.speedup.text.startswith("2")
    assert second.median.value == pytest.approx(5)
    assert second.median.text.endswith(" ms")
    assert second.p95.value == pytest.approx(5.5)
    assert (second.runs, second.planned) == (72, 72)
    assert (second.size.text, second.load.text, second.peak.text) == (
        "0.2500 MB",
        "250 ms",
        "300.0 MB",
    )
    assert second.parameters.text.startswith("0.136380 million")
    assert second.right is True
    assert second.verdict == "VALID"
    assert second.top[0].name == "red"


def test_a_percentile_that_few_runs_cannot_tell_is_not_shown(model_of: ModelOf) -> None:
    """It says how many it takes."""
    (card,) = shown(seen(model_of(), 10, 11, 9, runs=20))
    assert card.p95.value is None
    assert card.p95.text == "– (needs 72 runs, has 60)"


def test_nothing_is_invented_for_a_card_that_waits(model_of: ModelOf) -> None:
    """No time, no speed-up, no verdict; what the file is, is known."""
    (card,) = shown(Seen(model_of()))
    assert (card.runs, card.median.value, card.speedup.value, card.verdict) == (0, None, None, "")
    assert card.top == ()
    assert card.size.text == "1.000 MB"


def test_agreement_is_about_this_picture(model_of: ModelOf) -> None:
    """The class, the first three, and how far confidences are apart; none with other classes."""
    base = seen(model_of(), 10)
    same, other = seen(model_of("int8-dynamic"), 5), seen(model_of("int8-static"), 5, outputs=OTHER)
    _, first, second = shown(base, same, other)
    assert first.agreement is not None and first.agreement.same
    assert "differ by 0 points" in first.agreement.text
    assert second.agreement is not None and not second.agreement.same
    assert second.agreement.text.startswith("another class than the baseline")
    artifact = replace(same.model.artifact, class_names=("a", "b", "c"))
    foreign = replace(same, model=replace(same.model, artifact=artifact))
    found = shown(base, foreign)[1].agreement
    assert found is not None and "other classes" in found.text


def test_running_at_once_is_shown_beside_the_own_time(model_of: ModelOf) -> None:
    """As a factor; the median stays that of the model alone."""
    one = seen(model_of(), 10, 10, 10)
    (card,) = shown(replace(one, beside_ns=(25_000_000,), others=2))
    assert card.beside == "25.0 ms while 2 other models ran: 2.5 times as long as alone"
    assert shown(replace(one, beside_ns=(25_000_000,), others=0))[0].beside == ""
    assert card.median.value == pytest.approx(10)


# --- advice


def test_the_fastest_that_is_right_is_to_be_shipped(model_of: ModelOf) -> None:
    """Fast and wrong is wrong, and the page says of whom."""
    found = advised(
        seen(model_of(), 10, 10.2, 9.8),
        seen(model_of("int8-dynamic"), 5, 5.1, 4.9),
        seen(model_of("int8-static"), 2, 2.1, 1.9, passed=False),
    )
    assert "int8-dynamic" in found.ship
    assert found.headline.startswith("Ship this one, if its accuracy holds: Quantized (")
    whole = " ".join(found.reasons)
    assert "4.0 times smaller" in whole
    assert "Left out: Quantized (static)" in whole and "not those of its network in fp32" in whole


def test_of_those_that_are_not_told_apart_the_smallest_is_to_be_shipped(model_of: ModelOf) -> None:
    """A little faster by the estimate is no reason to ship four times the bytes."""
    found = advised(seen(model_of(), 10, 14, 8), seen(model_of("int8-dynamic"), 10.5, 13.5, 9))
    assert "int8-dynamic" in found.ship
    assert any("not told apart" in reason for reason in found.reasons)
    assert found.reasons[0].startswith("Nothing that is right is told to be faster")


def test_one_picture_proves_nothing_and_the_page_says_so(model_of: ModelOf) -> None:
    """Whatever the advice; with stored rows their accuracy stands beside it."""
    base, other = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    plain = advised(base, other)
    assert plain.reasons[-1] == ONE_PICTURE
    assert any("No stored row" in reason for reason in plain.reasons)
    told = advised(base, other, accuracies=accuracies(base, other, 760, 755))
    whole = " ".join(told.reasons)
    assert "of 1000 images of leaves.zip" in whole
    assert "-0.5 points against the baseline" in whole
    assert told.reasons[-1] == ONE_PICTURE
    assert told.headline.startswith("Ship this one: ")


def accuracies(base: Seen, other: Seen, right: int, others: int) -> dict[str, Accuracy]:
    """Of a thousand images so many are right."""
    return {
        one.model.name: Accuracy(share_interval(count, 1000), 1000, "leaves.zip")
        for one, count in ((base, right), (other, others))
    }


def test_what_loses_accuracy_by_stored_rows_is_not_to_be_shipped(model_of: ModelOf) -> None:
    """More than a point of top-1 against the baseline on the same images."""
    base, other = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    found = advised(base, other, accuracies=accuracies(base, other, 760, 740))
    assert found.ship == base.model.name
    assert any("loses 2.0 points" in reason for reason in found.reasons)


def test_another_build_s_accuracy_leaves_out_but_proves_nothing(model_of: ModelOf) -> None:
    """It answers much alike, so that a loss counts; that none was seen stays a condition."""
    base, other = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)

    def of_builds(others: int) -> dict[str, Accuracy]:
        known = accuracies(base, other, 760, others)
        return {name: replace(one, same_file=False) for name, one in known.items()}

    lost = advised(base, other, accuracies=of_builds(740))
    assert lost.ship == base.model.name
    assert any("by stored rows of another build of it." in reason for reason in lost.reasons)
    kept = advised(base, other, accuracies=of_builds(755))
    assert kept.headline.startswith("Ship this one, if its accuracy holds: ")
    assert any("Stored accuracy of another build of its file: " in text for text in kept.reasons)
    half = {**of_builds(755), other.model.name: accuracies(base, other, 760, 755)[other.model.name]}
    assert advised(base, other, accuracies=half).headline.startswith("Ship this one, if ")


def test_what_is_made_of_what_loses_accuracy_is_not_to_be_shipped(model_of: ModelOf) -> None:
    """Its own accuracy is not known, that of its network in fp32 is; its own would count more."""
    base = seen(model_of(), 10, 10.2, 9.8)
    scaled = seen(model_of("fp32-opt", variant="revisited-v1"), 8, 8.1, 7.9)
    int8 = seen(model_of("int8-static", variant="revisited-v1"), 2, 2.1, 1.9)
    stored = accuracies(base, scaled, 760, 500)
    found = advised(base, scaled, int8, accuracies=stored)
    assert found.ship == base.model.name
    assert any("made of what loses 26.0 points" in reason for reason in found.reasons)
    own = {int8.model.name: Accuracy(share_interval(760, 1000), 1000, "leaves.zip")}
    assert advised(base, scaled, int8, accuracies={**stored, **own}).ship == int8.model.name


def test_untrained_weights_are_said_to_mean_nothing(model_of: ModelOf) -> None:
    """Times and sizes count all the same."""
    found = advised(
        *(
            changed(one, weights="seeded", placeholder_names=True)
            for one in (seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 6, 4))
        )
    )
    assert found.ship
    assert found.headline.startswith("Ship this one, once it is trained and its accuracy holds: ")
    assert any("seeded, not trained" in reason for reason in found.reasons)


def test_trained_weights_without_class_names_are_trained(model_of: ModelOf) -> None:
    """What their classes are called is not known; their accuracy may hold all the same."""
    known = [
        changed(one, placeholder_names=True)
        for one in (seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 6, 4))
    ]
    found = advised(*known)
    assert found.claim == "ship this one, if its accuracy holds"
    whole = " ".join(found.reasons)
    assert "seeded" not in whole
    assert "does not say what its classes are called" in whole
    assert "On this picture it names the same class" in whole
    assert [(card.trained, card.named, card.weights) for card in shown(*known)] == [
        (True, False, "mine")
    ] * 2


def test_the_same_network_with_other_weights_has_another_name(model_of: ModelOf) -> None:
    """As a row has it; seeded weights need no word."""
    base, other = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    assert "(revisited-base@mine, int8-dynamic, null)" in advised(base, other).headline
    seeded = [changed(one, weights="seeded") for one in (base, other)]
    assert "(revisited-base, int8-dynamic, null)" in advised(*seeded).headline


def test_nothing_is_named_where_nothing_may_be(model_of: ModelOf) -> None:
    """Neither before anything was measured nor where all of it is wrong or failed."""
    waiting = Seen(model_of())
    assert advised(waiting) == Advice("", "Nothing is measured yet.", (), True)
    stopped = advised(replace(waiting, state="cancelled"))
    assert stopped.headline == "Nothing was measured before it was cancelled."
    wrong = seen(model_of(), 10, passed=False)
    failed = replace(Seen(model_of("int8-dynamic")), state="failed", reason="out of memory")
    found = advised(wrong, failed)
    assert found.ship == ""
    assert any("failed (out of memory)" in reason for reason in found.reasons)


def changed(one: Seen, **changes: object) -> Seen:
    """The same measurements, of a file that differs so."""
    artifact = replace(one.model.artifact, **changes)  # type: ignore[arg-type]
    return replace(one, model=replace(one.model, artifact=artifact))


def test_until_all_is_measured_it_is_only_so_far(model_of: ModelOf) -> None:
    """What was cancelled is not final either: nobody is told to ship it."""
    known = seen(model_of(), 10), seen(model_of("int8-dynamic"), 5)
    waiting = Seen(model_of("fp32-opt"))
    found = advise((*known, waiting), shown(*known, waiting), {}, final=False)
    assert found.headline.startswith("So far: Quantized (")
    assert (found.claim, found.final) == ("", False)


def test_after_the_first_round_of_all_there_is_an_answer(model_of: ModelOf) -> None:
    """It says of how many runs it is made, and that it is not final; what failed is not awaited."""
    known = seen(model_of(), 10), seen(model_of("int8-dynamic"), 5, 5.1)
    failed = replace(Seen(model_of("fp32-opt")), state="failed", reason="out of memory")
    found = advise((*known, failed), shown(*known, failed), {}, final=False)
    assert found.headline.startswith("After 24 of 72 runs, not final: Quantized (")
    assert (found.claim, found.final) == ("", False)
    last = advise(known, shown(*known), {}, final=True)
    assert last.headline.startswith("Ship this one, if its accuracy holds: Quantized (")
    assert last.claim == "ship this one, if its accuracy holds"


def test_one_model_alone_is_no_choice(model_of: ModelOf) -> None:
    """Nothing is named where there is nothing to compare it with."""
    found = advised(seen(model_of(), 10, 10.2, 9.8))
    assert found.ship == ""
    assert found.headline == "Nothing to choose from: only one model was asked for."


def test_what_knows_other_classes_takes_nobody_s_place(model_of: ModelOf) -> None:
    """However fast it is: it answers another question."""
    base, other = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    found = advised(base, changed(other, class_names=("a", "b", "c")))
    assert found.ship == base.model.name
    assert any("knows other classes than the baseline" in text for text in found.reasons)


def test_doubts_about_the_pick_are_said(model_of: ModelOf) -> None:
    """With what they are, and what to do."""
    known = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    doubts = ("steal: cores: 0.1 in the worst block (SUSPECT from 0.05)", "canary: a share")
    cards = [replace(card, verdict="SUSPECT", doubts=doubts) for card in shown(*known)]
    found = advise(known, cards, {}, final=True)
    said = "Its numbers are doubted (steal, canary; its card says how much): measure again"
    assert said in " ".join(found.reasons)


def test_on_a_disturbed_machine_nothing_can_be_told(model_of: ModelOf) -> None:
    """It is said once, of all of them, and what to do: the models are not to blame."""
    known = seen(model_of(), 10, 10.2, 9.8), seen(model_of("int8-dynamic"), 5, 5.1, 4.9)
    doubts = ("foreign-cpu: cores", "canary: a share")
    cards = [replace(card, verdict="INVALID", doubts=doubts) for card in shown(*known)]
    found = advise(known, cards, {}, final=True)
    assert found.ship == ""
    assert found.headline.endswith("measure again when nothing else runs.")
    hasty = advise(known, cards, {}, final=False)
    assert hasty.headline.startswith("After 72 of 72 runs, not final: nothing can be told")
    left_out = "Left out: Baseline (revisited-base@mine, fp32, null), Quantized"
    assert found.reasons[0].startswith(left_out)
    assert found.reasons[0].endswith("can't be believed (the cards say why).")
    assert len(found.reasons) == 2
    broken = replace(Seen(model_of("int8-static")), state="failed", reason="out of memory")
    more = advise((*known, broken), [*cards, *shown(broken)], {}, final=True)
    assert more.headline == found.headline, "what failed says nothing about the others"
