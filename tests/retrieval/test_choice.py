"""Choice of the retrieval: exact unless an approximate index pays, and the reason is told."""

import pytest

from conftest import make_dataset
from leanrec.errors import MissingExtraError, SettingError
from leanrec.models import get_model
from leanrec.retrieval import choice
from leanrec.retrieval.choice import check_retrieval, choose_index, get_asked
from leanrec.run import Run

DATA = make_dataset(n_users=80, n_items=400, per_user=50)


def test_auto_is_exact_for_a_small_catalog_and_says_nothing() -> None:
    assert choose_index(get_model("pure_svd")(embedding_dim=8).fit(DATA), DATA, "auto", Run()) == (None, {})


def test_auto_is_approximate_above_the_size_where_it_reaches_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_AUTO_ABOVE", 100)
    model = get_model("pure_svd")(embedding_dim=2).fit(DATA)
    index, described = choose_index(model, DATA, "auto", Run(threads=1))
    if index is None:
        assert "does not reach a recall of 0.98" in described["note"]
    else:
        assert described["used"] == "approximate"
        assert min(described["recalls"]) >= 0.98
    assert choose_index(get_model("ease")().fit(DATA), DATA, "auto", Run()) == (None, {})
    assert choose_index(model, DATA, "exact", Run()) == (None, {"asked": "exact", "used": "exact"})


def test_a_model_without_vectors_stays_exact_and_says_so() -> None:
    index, described = choose_index(get_model("ease")().fit(DATA), DATA, "approximate", Run())
    assert index is None
    assert described["note"] == "Retrieval is exact: the score of this model is not a dot product of vectors."


def test_few_items_stay_exact_and_say_so() -> None:
    data = make_dataset()
    index, described = choose_index(get_model("pure_svd")(embedding_dim=2).fit(data), data, "approximate", Run())
    assert index is None
    assert "Retrieval is exact: Approximate retrieval needs 60 item vectors." in described["note"]


def test_without_the_package_auto_names_it_and_approximate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_AUTO_ABOVE", 100)
    monkeypatch.setattr(choice, "has_faiss", lambda: False)
    index, described = choose_index(get_model("pure_svd")(embedding_dim=2).fit(DATA), DATA, "auto", Run())
    assert index is None
    assert "pip install 'leanrec[ann]'" in described["note"]
    with pytest.raises(MissingExtraError, match=r"leanrec\[ann\]"):
        check_retrieval("approximate")
    assert get_asked({"retrieval": {"asked": "approximate"}}) == "auto"


def test_an_unknown_retrieval_is_refused() -> None:
    with pytest.raises(SettingError, match="retrieval must be one of auto, exact, approximate"):
        check_retrieval("hnsw")


def test_a_refit_asks_for_what_the_fit_asked_for() -> None:
    assert get_asked({}) == "auto"
    assert get_asked({"retrieval": {"asked": "approximate"}}) == "approximate"
    assert get_asked({"retrieval": {"asked": "exact", "used": "exact"}}) == "exact"
