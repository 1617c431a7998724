"""Which one to ship, in sentences, from the cards of a picture and the stored rows. Pure.

What ran, is right and can be believed competes; the lowest latency wins, and among those that
are not told apart from it the smallest file. One picture says nothing about accuracy: that
comes from stored rows, or is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import text
from bench.dashboard.cards import Card, Seen
from bench.rows import MOST_LOST, PLAIN_RECIPES, speedup
from bench.stats import Estimate
from export.checkpoints import SEEDED

ONE_PICTURE = (
    "One picture proves nothing about accuracy: measure it on labelled images "
    "(python -m bench.run --data) before you ship."
)


@dataclass(frozen=True)
class Accuracy:
    """What a stored row says: the share of right answers, and on how many images of what.

    ``same_file``: of the very file that is offered; else of another build of the same network,
    weights and recipe, which answers much alike.
    """

    share: Estimate
    images: int
    data: str
    same_file: bool = True


@dataclass(frozen=True)
class Advice:
    """``ship`` is the name of a card; empty: none can be named, and ``headline`` says why.

    ``final``: all that was asked for is measured. ``claim`` is what can be said of the card then,
    with its condition; empty until then. ``reasons`` are whole sentences.
    """

    ship: str
    headline: str
    reasons: tuple[str, ...]
    final: bool
    claim: str = ""


def advise(
    seen: Sequence[Seen],
    cards: Sequence[Card],
    accuracies: Mapping[str, Accuracy],
    *,
    final: bool,
) -> Advice:
    """The pick among ``cards``, which belong to ``seen`` one by one.

    ``accuracies`` are those of stored rows, by card; ``final``: all that was asked for is
    measured.
    """
    out = _left_out(seen, cards, accuracies)
    pairs = [(a, b) for a, b in zip(seen, cards, strict=True) if b.runs and b.name not in out]
    left_out = _said(cards, out)
    if not pairs:
        if not any(card.runs for card in cards):
            return Advice("", _nothing(cards), left_out, final)
        why = _unfit(cards)
        head = why if final else f"{_so_far(cards)}: {why[0].lower()}{why[1:]}"
        return Advice("", head, (*left_out, ONE_PICTURE), final)
    if len(cards) == 1:
        alone = "Nothing to choose from: only one model was asked for."
        return Advice("", alone, (ONE_PICTURE,), final)
    pick, close = _pick(pairs)
    claim = _claim(pick, cards, accuracies) if final else ""
    head = claim.capitalize() if final else _so_far(cards)
    told = (_because(pick, cards, close), *_close(pick, close), *_doubted(pick))
    reasons = (*told, *_accuracy(pick, cards, accuracies), *left_out, ONE_PICTURE)
    return Advice(pick.name, f"{head}: {_named(pick)}.", reasons, final, claim)


def _so_far(cards: Sequence[Card]) -> str:
    """How much the advice is made of: it can be used when every model had its first round."""
    counted = [card for card in cards if card.state != "failed"]
    least = min(counted, key=lambda card: card.runs, default=None)
    if least is None or not least.runs:
        return "So far"
    return f"After {least.runs} of {least.planned} runs, not final"


def _said(cards: Sequence[Card], out: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each reason, with all whom it concerns."""
    whom: dict[str, list[str]] = {}
    for card in cards:
        if card.name in out:
            whom.setdefault(out[card.name], []).append(_named(card))
    return tuple(f"Left out: {', '.join(names)}: {reason}." for reason, names in whom.items())


def _unfit(cards: Sequence[Card]) -> str:
    if all(card.verdict == "INVALID" and card.right for card in cards if card.runs):
        return "Nothing can be told from these numbers: measure again when nothing else runs."
    return "Nothing that was measured here should be shipped."


def _nothing(cards: Sequence[Card]) -> str:
    states = {card.state for card in cards}
    if states == {"failed"}:
        return "Nothing could be measured: every model failed."
    if states <= {"failed", "cancelled"}:
        return "Nothing was measured before it was cancelled."
    return "Nothing is measured yet."


def _claim(pick: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> str:
    """How far the advice reaches: what is not known of the answers is a condition."""
    if not pick.trained:
        return "ship this one, once it is trained and its accuracy holds"
    lost = _lost(pick, cards, accuracies)
    if pick.baseline or (lost is not None and _of_these_files(pick, cards, accuracies)):
        return "ship this one"
    return "ship this one, if its accuracy holds"


def _named(card: Card) -> str:
    """As a row is called, so that the same network with other weights is another name."""
    weights = "" if card.weights == SEEDED else f"@{card.weights}"
    return f"{card.title} ({card.variant}{weights}, {card.recipe}, {card.runtime})"


def _left_out(
    seen: Sequence[Seen], cards: Sequence[Card], accuracies: Mapping[str, Accuracy]
) -> dict[str, str]:
    """By card, why it can't be shipped in the place of the baseline."""
    pairs = list(zip(seen, cards, strict=True))
    base = next((one for one, card in pairs if card.baseline), None)
    names = base.model.artifact.class_names if base else ()
    found: dict[str, str] = {}
    for one, card in pairs:
        if base and one.model.artifact.class_names != names:
            found[card.name] = "knows other classes than the baseline"
        elif reason := _out(card, cards, accuracies):
            found[card.name] = reason
    return found


def _out(card: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> str:
    """Why a card that was measured can't be shipped; empty: it can, or is not measured yet."""
    if card.state == "failed":
        return f"failed ({card.reason})"
    if card.right is False:
        return f"answers that are not those of its network in fp32 ({card.parity})"
    if card.verdict == "INVALID":
        return "numbers that can't be believed (the cards say why)"
    lost = _lost(card, cards, accuracies)
    if lost is not None and lost > MOST_LOST:
        return (
            f"loses {lost:.1f} points of top-1 to the baseline, by {_rows(card, cards, accuracies)}"
        )
    if lost is None and (before := _lost_before(card, cards, accuracies)) > MOST_LOST:
        return f"made of what loses {before:.1f} points of top-1 to the baseline, by stored rows"
    return ""


def _rows(card: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> str:
    """By what a card's loss, which is known, is known."""
    whose = "" if _of_these_files(card, cards, accuracies) else " of another build of it"
    return f"stored rows{whose}"


def _of_these_files(card: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> bool:
    """Whether a card's accuracy and the baseline's are those of the very files shown."""
    both = (one for one in cards if one.baseline or one is card)
    return all(accuracies[one.name].same_file for one in both)


def _lost_before(card: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> float:
    """Points that the card's own network is behind in fp32: what it is made of. 0: unknown."""
    same = [one for one in cards if (one.variant, one.weights) == (card.variant, card.weights)]
    plain = [one for one in same if one.recipe in PLAIN_RECIPES]
    found = [lost for one in plain if (lost := _lost(one, cards, accuracies)) is not None]
    return min(found, default=0.0)


def _lost(card: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]) -> float | None:
    """Points of top-1 by which it is behind the baseline; ``None``: not known of both."""
    base = next((one for one in cards if one.baseline), None)
    if base is None or card.name not in accuracies or base.name not in accuracies:
        return None
    ours, theirs = accuracies[card.name], accuracies[base.name]
    if (ours.data, ours.images) != (theirs.data, theirs.images):
        return None
    return 100 * (theirs.share.value - ours.share.value)


def _pick(pairs: Sequence[tuple[Seen, Card]]) -> tuple[Card, list[Card]]:
    """The pick, and the others that its latency is not told apart from."""
    fastest = min(pairs, key=lambda pair: pair[1].median.value or 0.0)
    alike = [pair for pair in pairs if pair is fastest or not _slower(pair[0], fastest[0])]
    pick = min(alike, key=lambda pair: pair[1].size.value or 0.0)
    return pick[1], [card for _, card in alike if card is not pick[1]]


def _slower(one: Seen, fastest: Seen) -> bool:
    """Whether one is told to be slower; without an interval the estimate has to do."""
    found = speedup(one.row(None), fastest.row(None))
    if found is None:
        return True
    return found.low > 1 if found.low is not None else found.value > text.NEARLY_ONE


def _because(pick: Card, cards: Sequence[Card], close: Sequence[Card]) -> str:
    base = next((card for card in cards if card.baseline), None)
    facts = f"{pick.median.text} (median of {pick.runs} runs), {pick.size.text}"
    faster = any((one.median.value or 0.0) < (pick.median.value or 0.0) for one in close)
    claim = (
        "Nothing that is right is told to be faster"
        if faster
        else "It has the lowest latency of what is right"
    )
    if base is None or not base.runs:
        return f"{claim}: {facts}."
    if base.name == pick.name:
        return f"Nothing that is right beats the baseline: {facts}."
    smaller = (base.size.value or 0.0) / (pick.size.value or 1.0)
    size = f"{text.rounded(smaller, digits=2)} times smaller" if smaller > 1 else "no smaller"
    times = f"speed-up over the baseline {pick.speedup.text}"
    return f"{claim}: {facts}; {times}; its file is {size}."


def _close(pick: Card, close: Sequence[Card]) -> tuple[str, ...]:
    if not close:
        return ()
    names = ", ".join(_named(card) for card in close)
    return (f"Its time is not told apart from that of {names}; its file is the smallest of them.",)


def _doubted(pick: Card) -> tuple[str, ...]:
    if pick.verdict in ("", "VALID"):
        return ()
    codes = ", ".join(doubt.partition(":")[0] for doubt in pick.doubts)
    return (
        f"Its numbers are doubted ({codes}; its card says how much): measure again when nothing "
        "else runs.",
    )


def _accuracy(
    pick: Card, cards: Sequence[Card], accuracies: Mapping[str, Accuracy]
) -> tuple[str, ...]:
    """What is known of the pick's answers: on this picture, its reference, and stored rows."""
    found: list[str] = []
    if not pick.trained:
        found.append("Its weights are seeded, not trained: times and sizes mean what they say.")
        found.append("Its classes mean nothing.")
    elif pick.agreement is not None:
        found.append(f"On this picture it names {pick.agreement.text}.")
    if pick.trained and not pick.named:
        found.append("Its file does not say what its classes are called: they have numbers.")
    if pick.name in accuracies:
        stored = accuracies[pick.name]
        lost = _lost(pick, cards, accuracies)
        beside = "" if lost is None else f", {text.signed(-lost, 1)} points against the baseline"
        shown = text.percent_interval(stored.share)
        whose = "" if stored.same_file else " of another build of its file"
        found.append(
            f"Stored accuracy{whose}: {shown} % of {stored.images} images of {stored.data}{beside}."
        )
    elif pick.trained:
        found.append("No stored row tells its accuracy (--records names a results folder).")
    return tuple(found)
