"""WordNeighbours: the sheet of the skip-gram: words, and those that it expects around them."""

from selfsight.looks.held_out import of_known_words
from selfsight.looks.task_sheet import Figures, Question, SetwiseSheet, measured
from selfsight.looks.text_sheet import TextAnswer, TextQuestion, TextSheet
from selfsight.tasks.word2vec_skipgram import SkipGram

ANSWERS = 5
COMMON, SHARE, LEAST_LETTERS = 150, 0.1, 4  # frequent words, and short ones, say little


def find_answers(task: SkipGram, question: Question) -> tuple[TextSheet, Figures]:
    """Ask which words are expected around some that occur in what was held out."""
    held = of_known_words(question.held, task.words)
    figures = measured("neighbours", task, held, seed=question.seed, device=question.device)
    words, output = task.words.words, task.output.weight.detach()
    batch = held.batch(0, len(held.pictures), needs=task.needs, seed=0, device=question.device)
    counts = batch.tokens.flatten().bincount(minlength=len(words))
    counts[: min(COMMON, int(SHARE * len(words)))] = 0
    frequent = counts.argsort(descending=True, stable=True).tolist()
    long = [i for i in frequent if len(words[i]) >= LEAST_LETTERS and counts[i] > 0]
    chosen = (long or frequent)[: question.count]
    questions = [
        TextQuestion(
            words[i],
            [
                TextAnswer(words[j])
                for j in (output @ task.words.vectors[i]).topk(min(ANSWERS, len(words))).indices
            ],
        )
        for i in chosen
    ]
    return TextSheet("Skip-gram: which words are expected around these?", questions), figures


def in_words(task: SkipGram, figures: Figures, among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, telling a neighbour from {task.negatives} words at random by the word costs "
        f"{figures['loss']:.3f} nats; by how often words occur alone, {figures['blind']:.3f}."
    )


SHEET = SetwiseSheet(find_answers, in_words)
