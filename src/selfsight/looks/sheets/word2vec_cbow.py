"""Blanks: the sheet of continuous bag of words: sentences with a blank, and the likeliest words."""

import torch
from torch import Tensor

from selfsight.data.words.batch import Words
from selfsight.errors import SelfsightError
from selfsight.looks.held_out import of_known_words
from selfsight.looks.task_sheet import Figures, Question, SetwiseSheet, measured
from selfsight.looks.text_sheet import TextAnswer, TextQuestion, TextSheet
from selfsight.tasks.word2vec_cbow import ContinuousBagOfWords

ANSWERS = 5
BLANK = "_____"
COMMON, SHARE = 150, 0.1  # most frequent words, and share of all: nobody would wonder at "the"


def find_answers(task: ContinuousBagOfWords, question: Question) -> tuple[TextSheet, Figures]:
    """Blank a word out in some passages, and guess it from its neighbours."""
    held = of_known_words(question.held, task.words)
    figures = measured("blanks", task, held, seed=question.seed, device=question.device)
    most = min(len(held.pictures), 4 * question.count)
    batch: Words = held.batch(0, most, needs=task.needs, seed=question.seed, device=question.device)
    where = batch.draws.uniform("blank", 1)[:, 0]
    common = min(COMMON, int(SHARE * len(task.words.words)))
    questions: list[TextQuestion] = []
    for row in range(len(batch.tokens)):
        passage = batch.tokens[row, : int(batch.extent[row])]
        place = _place(passage, common, task.window, float(where[row]))
        if place is not None and len(questions) < question.count:
            questions.append(_blanked(task, passage, place))
    if not questions:
        raise SelfsightError(
            f"no passage of {held.pictures.name} has {2 * task.window + 1} words that were "
            "learned; give more text"
        )
    return TextSheet("CBOW: which word is blanked out?", questions), figures


def _place(passage: Tensor, common: int, window: int, drawn: float) -> int | None:
    """Choose a word of a passage to blank out, with whole windows beside it; None without one."""
    inner = (passage >= common).nonzero()[:, 0]
    inner = inner[(inner >= window) & (inner < len(passage) - window)]
    return int(inner[int(drawn * len(inner))]) if len(inner) else None


def _blanked(task: ContinuousBagOfWords, passage: Tensor, place: int) -> TextQuestion:
    """Guess one word of a passage."""
    window, words = task.window, task.words.words
    before, after = passage[place - window : place], passage[place + 1 : place + 1 + window]
    mean = task.words.vectors[torch.cat([before, after])].mean(dim=0)
    logits = task.output.weight.detach() @ mean
    true = int(passage[place])
    answers = [
        TextAnswer(words[number], number == true)
        for number in logits.topk(min(ANSWERS, len(words))).indices.tolist()
    ]
    text = " ".join(
        [*(words[i] for i in before.tolist()), BLANK, *(words[i] for i in after.tolist())]
    )
    return TextQuestion(f"{text}   ({words[true]})", answers)


def in_words(task: ContinuousBagOfWords, figures: Figures, among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, telling a word from {task.negatives} at random by its neighbours costs "
        f"{figures['loss']:.3f} nats; by how often words occur alone, {figures['blind']:.3f}. "
        "Words in brackets are those that stood there."
    )


SHEET = SetwiseSheet(find_answers, in_words)
