"""Search: the closest by cosine, nobody's own, and what faiss finds of the exact answer."""

import importlib

import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.looks.neighbours import search
from selfsight.looks.neighbours.search import NOBODY, Search, share_kept

BANK = torch.tensor([[0.0, 5.0], [9.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_closest_come_first_with_their_cosines() -> None:
    found = Search(BANK)(torch.tensor([[2.0, 0.0]]), 4)

    assert found.rows.tolist() == [[1, 2, 0, 3]]
    assert found.cosine[0, 1].item() == pytest.approx(0.5**0.5)
    assert found.cosine[0, 3].item() == -1


def test_an_answer_never_has_the_owner_of_its_query() -> None:
    owners = torch.tensor([0, 1, 1, 2])
    found = Search(BANK, owners)(BANK, 2, owners)

    assert (owners[found.rows] != owners[:, None]).all()
    assert found.rows[1].tolist() == [0, 3]  # rows 1 and 2 are its own


def test_queries_of_nobody_may_be_answered_with_anything() -> None:
    found = Search(BANK, torch.tensor([0, 1, 1, 2]))(BANK[:1], 4, torch.tensor([NOBODY]))

    assert found.rows[0].tolist() == [0, 2, 1, 3]


def test_the_count_is_lowered_to_what_every_query_can_have() -> None:
    owners = torch.tensor([0, 1, 1, 2])

    assert Search(BANK, owners)(BANK, 10, owners).rows.shape == (4, 2)
    assert Search(BANK)(BANK, 10).rows.shape == (4, 4)


def test_piece_by_piece_gives_what_one_large_product_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(search, "QUERIES_AT_ONCE", 3)
    bank, queries = normal(50, 6, seed=0), normal(11, 6, seed=1)
    whole = torch.nn.functional.cosine_similarity(queries[:, None], bank[None], dim=2)

    assert Search(bank)(queries, 9).rows.equal(whole.topk(9, dim=1).indices)


def test_faiss_finds_nearly_all_of_the_exact_answer_and_says_how_much() -> None:
    pytest.importorskip("faiss")
    centres = normal(30, 16, seed=2)
    bank = centres[torch.arange(9000) % 30] + 0.3 * normal(9000, 16, seed=3)
    owners = torch.arange(9000) // 3
    approximate = Search(bank, owners, exact_up_to=1000)
    found = approximate(bank[:300], 10, owners[:300])
    exact = Search(bank, owners)(bank[:300], 10, owners[:300])
    share = share_kept(exact.rows, found.rows)

    assert approximate.way == "faiss IndexIVFFlat"
    assert (owners[found.rows] != owners[:300, None]).all()
    assert share.mean() > 0.9
    recall = approximate.recall(bank[:300], 10, owners[:300])
    assert recall is not None
    assert recall == pytest.approx(share.mean().item(), abs=0.05)


def test_too_few_rows_in_the_cells_looked_at_are_made_up_for_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "CELLS_LOOKED_AT", 1)
    bank = normal(640, 4, seed=4)
    found = Search(bank, exact_up_to=100)(bank[:5], 600)

    assert (found.rows.sort().values.diff() > 0).all()  # none twice, none missing
    assert found.cosine.isfinite().all()


def test_an_exact_search_has_no_recall_to_tell() -> None:
    assert Search(BANK).way == "exact"
    assert Search(BANK).recall(BANK, 2) is None


def test_without_faiss_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(SelfsightError, match=r"200,000 rows.*pip install faiss-cpu"):
        search.require_faiss(200_000)


def test_the_share_that_stays_is_counted_whatever_the_order() -> None:
    before, after = (
        torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]]),
        torch.tensor([[4, 9, 1, 8], [5, 6, 7, 8]]),
    )

    assert share_kept(before, after).tolist() == [0.5, 0.0]
