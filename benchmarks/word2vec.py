"""word2vec beside gensim: words a second on two threads, and what the vectors are worth.

    python benchmarks/word2vec.py FOLDER --questions FOLDER [--seeds 3] [--threads 2]

FOLDER holds text; words that are written with a tag behind them, as in Brown ("The/at"), lose it.
Both learn from the same words in the same passages with the same settings, word2vec's own: 5 times
through, vectors of 100 numbers, windows of 5, 5 noise words, words of 5 occurrences or more,
frequent ones thinned at 1e-3. They take turns, seed after seed, so that a busy machine slows both.
The questions are lists of rated pairs, as WordSim-353 and SimLex-999, asked as `--probe words` asks
them. Reading the text is in neither's time.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gensim.models import Word2Vec

import selfsight
from selfsight.data.words.passages import PASSAGE
from selfsight.data.words.text import open_text
from selfsight.data.words.vocabulary import words_in
from selfsight.encoders.word_table import of_words
from selfsight.probes.word_questions import RatedPairs, questions_in
from selfsight.probes.words import spearman

TASKS = {"word2vec-cbow": 0, "word2vec-skipgram": 1}  # gensim's `sg`
TAGGED = re.compile(r"(\S+)/[A-Za-z][^\s/]*")
MOST_TAGGED = 0.5  # share of words past which a file is tagged
EPOCHS = 5


def plain(folder: Path, out: Path) -> list[list[str]]:
    """Write text without tags into a folder: -> its words in passages."""
    text = open_text(str(folder)).train
    passages: list[list[str]] = []
    for i in range(len(text)):
        try:
            whole = "".join(piece for piece, _ in text.blocks(i))
        except Exception as reason:
            print(f"left out: {text.title(i)}: {reason}")
            continue
        if len(TAGGED.findall(whole)) > MOST_TAGGED * len(whole.split()):
            whole = TAGGED.sub(r"\1", whole)
        (out / f"{i:05}.txt").write_text(whole, encoding="utf-8", errors="surrogateescape")
        words = words_in(whole)
        passages += [words[at : at + PASSAGE] for at in range(0, len(words), PASSAGE)]
    return passages


def worth(number: dict[str, int], vectors: torch.Tensor, asked: list[RatedPairs]) -> dict[str, Any]:
    """Correlate cosines with people's ratings: -> by the list's name."""
    vectors = F.normalize(vectors.double(), dim=1)
    found: dict[str, Any] = {}
    for one in asked:
        known = [(number[a], number[b], s) for a, b, s in one.pairs if a in number and b in number]
        first, second = torch.tensor([pair[:2] for pair in known]).T
        rating = torch.tensor([pair[2] for pair in known], dtype=torch.float64)
        found[one.name] = float(spearman((vectors[first] * vectors[second]).sum(dim=1), rating))
    return found


def by_gensim(passages: list[list[str]], sg: int, seed: int, threads: int) -> dict[str, Any]:
    """Train by gensim: -> seconds, processor seconds, words a second, and the vectors."""
    model = Word2Vec(sg=sg, vector_size=100, window=5, negative=5, min_count=5, sample=1e-3,
                     workers=threads, seed=seed)  # fmt: skip
    model.build_vocab(passages)
    begun, busy = time.perf_counter(), time.process_time()
    model.train(passages, total_examples=len(passages), epochs=EPOCHS)
    return {
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - busy,
        "number": model.wv.key_to_index,
        "vectors": torch.from_numpy(model.wv.vectors.copy()),
    }


def by_selfsight(folder: Path, out: Path, task: str, seed: int, threads: int) -> dict[str, Any]:
    """Train by the house's own loop: -> the same."""
    seconds: list[float] = []
    busy = time.process_time()
    run = selfsight.pretrain(
        str(folder), task=task, epochs=EPOCHS, seed=seed, threads=threads, out=str(out)
    )
    busy = time.process_time() - busy  # with reading, checkpoints and the verdict
    record = run.result("pretrain")
    assert record is not None
    seconds.append(record["seconds"])
    table = of_words(run.encoder())
    return {
        "seconds": sum(seconds),
        "processor": busy,
        "number": table.number,
        "vectors": table.vectors,
    }


def main() -> None:
    """Measure, print and give a record."""
    parser = argparse.ArgumentParser(description="word2vec beside gensim")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    lists = [one for one in questions_in(asked.questions) if isinstance(one, RatedPairs)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "text"
        folder.mkdir()
        passages = plain(asked.folder, folder)
        words = sum(map(len, passages))
        print(f"{words:,} words")
        for seed in range(asked.seeds):
            for task, sg in TASKS.items():
                out = Path(place) / f"{task}-{seed}"
                found = {
                    "gensim": by_gensim(passages, sg, seed, asked.threads),
                    "selfsight": by_selfsight(folder, out, task, seed, asked.threads),
                }
                for who, one in found.items():
                    row = {
                        "task": task,
                        "by": who,
                        "seed": seed,
                        "words a second": round(EPOCHS * words / one["seconds"]),
                        "a processor second": round(EPOCHS * words / one["processor"]),
                        **worth(one["number"], one["vectors"], lists),
                    }
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    for task in TASKS:
        of = {who: [r for r in rows if r["task"] == task and r["by"] == who] for who in found}
        pace = [
            ours["words a second"] / theirs["words a second"]
            for ours, theirs in zip(of["selfsight"], of["gensim"], strict=True)
        ]
        print(f"{task}: {statistics.median(pace):.2f} of gensim's words a second")
        for one in lists:
            told = ", ".join(
                f"{who} {statistics.mean(r[one.name] for r in mine):.3f} "
                f"({min(r[one.name] for r in mine):.3f} to {max(r[one.name] for r in mine):.3f})"
                for who, mine in of.items()
            )
            print(f"{task}, {one.name}: {told}")


if __name__ == "__main__":
    main()
