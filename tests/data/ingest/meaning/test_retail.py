"""Retail logs: the rows of an invoice are purchases, quantities are no weights, and returns take purchases away."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import leanrec
from leanrec.data.ingest.meaning.retail import RetailColumns, find_retail

HEAD = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
ROWS = [
    "536365,mug,6,2010-12-01 08:26,2.55,ann",
    "536365,cup,8,2010-12-01 08:26,3.39,ann",
    "536366,mug,2,2010-12-02 09:00,2.55,bob",
    "536367,jar,1,2010-12-02 10:00,9.95,bob",
    "C536368,mug,-6,2010-12-03 09:41,2.55,ann",
    "C536369,cup,-3,2010-12-03 09:41,3.39,ann",
    "536370,mug,1,2010-12-04 11:00,2.55,cem",
]


def write(folder: Path, rows: list[str] = ROWS, head: str = HEAD) -> Path:
    (folder / "shop.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "shop.csv"


def pairs(data: leanrec.Dataset) -> dict[tuple[str, str], list[float]]:
    """(user, item) → weights of the events."""
    found: dict[tuple[str, str], list[float]] = {}
    for user, item, weight in zip(data.events.user, data.events.item, data.events.weight, strict=True):
        found.setdefault((str(data.users.ids[user]), str(data.items.ids[item])), []).append(float(weight))
    return found


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["InvoiceNo", "StockCode", "Quantity", "CustomerID"], ("InvoiceNo", "Quantity")),
        (["Email", "Lineitem sku", "Lineitem quantity"], ("Lineitem sku", "Lineitem quantity")),
        (["customer_id", "order_id", "sku", "qty_ordered"], ("order_id", "qty_ordered")),
        (["cliente", "producto", "factura", "cantidad"], ("factura", "cantidad")),
        (["order_id", "product_id", "user_id", "qty"], ("order_id", "qty")),
        (["user", "item", "purchase_date"], ("purchase_date", None)),
        (["InvoiceDate", "Invoice", "item"], ("Invoice", None)),
        (["user", "item", "basketKey"], ("basketKey", None)),
        (["user", "item", "order", "timestamp"], None),
        (["user", "item", "sales_channel_id", "first_purchase_date", "last_order_id"], None),
        (["user", "item", "sales_order_id", ""], ("sales_order_id", None)),
        (["user_id", "item_id", "rating", "transaction"], None),
    ],
)
def test_names_of_documents_and_quantities(names: list[str], found: tuple[str | None, str | None] | None) -> None:
    assert find_retail(names) == (None if found is None else RetailColumns(*found))


def test_returns_take_away_the_purchases_of_which_all_units_came_back(tmp_path: Path) -> None:
    data, report = leanrec.ingest(write(tmp_path))
    # Ann gave all mugs back, and three of eight cups.
    assert pairs(data) == {
        ("ann", "cup"): [3, 0],
        ("ann", "mug"): [0],
        ("bob", "jar"): [3],
        ("bob", "mug"): [3],
        ("cem", "mug"): [3],
    }
    assert report.rejected == {"returned: all units came back": 1}
    assert {kind: facts["events"] for kind, facts in report.event_types.items()} == {"purchase": 4, "return": 2}
    assert report.columns[str(tmp_path / "shop.csv")].keys() == {"user", "item", "time"}
    told = " ".join(report.warnings)
    assert "'InvoiceNo' says that each row is a purchase" in told
    assert "'Quantity' has numbers of units, which are no ratings and no weights." in told
    assert "2 rows are returns (a quantity below zero, or an invoice that begins with C), with weight 0." in told
    assert "all units came back do not count: 1." in told
    assert "Not used: UnitPrice" in told
    assert "Not used: Quantity" not in told


def test_an_invoice_that_begins_with_c_is_a_return_without_quantities_too(tmp_path: Path) -> None:
    rows = ["536365,mug,ann", "536366,mug,bob", "536367,cup,bob", "C536368,mug,ann", "Cash,cup,cem"]
    data, report = leanrec.ingest(write(tmp_path, rows, "Invoice,StockCode,CustomerID"))
    assert pairs(data) == {("ann", "mug"): [0], ("bob", "mug"): [3], ("bob", "cup"): [3], ("cem", "cup"): [3]}
    assert report.rejected == {"returned: all units came back": 1}


def test_the_weight_and_no_event_type_may_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path)
    data, _ = leanrec.ingest(path, columns={"weight": "Quantity"})
    assert pairs(data)["ann", "cup"] == [24, 0]
    assert pairs(data)["bob", "mug"] == [6]
    plain, report = leanrec.ingest(path, columns={"event_type": None})
    assert (set(plain.events.weight.tolist()), len(plain.events)) == ({1.0}, 7)
    assert report.event_types.keys() == {"interaction"}


def test_a_quantity_beside_event_types_only_says_what_came_back(tmp_path: Path) -> None:
    rows = ["ann,mug,view,", "ann,mug,buy,2", "bob,mug,buy,1", "bob,mug,buy,-1", "bob,cup,view,"]
    data, report = leanrec.ingest(write(tmp_path, rows, "user,item,event,quantity"))
    assert pairs(data) == {("ann", "mug"): [1, 3], ("bob", "cup"): [1], ("bob", "mug"): [0]}
    assert report.event_types.keys() == {"view", "buy", "return"}
    sold, _ = leanrec.ingest({"sale": write(tmp_path, ["ann,mug,1", "ann,cup,2", "ann,mug,-1"], "user,item,qty")})
    assert pairs(sold) == {("ann", "cup"): [3], ("ann", "mug"): [0]}


def test_ratings_and_words_in_the_quantity_are_no_returns(tmp_path: Path) -> None:
    rated, report = leanrec.ingest(write(tmp_path, ["1,ann,mug,5", "2,bob,mug,3"], "order_id,user,item,rating"))
    assert (report.event_types.keys(), rated.events.weight.tolist()) == ({"rating"}, [1, 1])
    _, report = leanrec.ingest(write(tmp_path, ["ann,mug,few", "bob,mug,some"], "user,item,quantity"))
    assert report.event_types.keys() == {"interaction"}


def test_frames_and_parquet_are_read_as_text_is(tmp_path: Path) -> None:
    frame = pd.read_csv(write(tmp_path))
    frame.to_parquet(tmp_path / "shop.parquet")
    wanted = pairs(leanrec.ingest(tmp_path / "shop.csv").data)
    for source in (frame, tmp_path / "shop.parquet"):
        assert pairs(leanrec.ingest(source).data) == wanted


def test_returned_pairs_are_those_of_a_slow_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "invoice": np.arange(3000),
            "customer": rng.integers(0, 30, 3000),
            "item": rng.integers(0, 20, 3000),
            "quantity": rng.choice([-3, -1, 1, 2], 3000),
        }
    )
    data, report = leanrec.ingest(frame)
    back: dict[tuple[int, int], int] = {}
    for row in frame.itertuples():
        back[row.customer, row.item] = back.get((row.customer, row.item), 0) + row.quantity
    gone = [row for row in frame.itertuples() if row.quantity > 0 and back[row.customer, row.item] <= 0]
    assert report.rejected == {"returned: all units came back": len(gone)}
    assert report.event_types["return"]["events"] == (frame.quantity < 0).sum()
    assert len(data.events) == 3000 - len(gone)


ORDERS = pd.DataFrame(
    {"order_id": range(6), "customer_id": list("abcabc"), "product_id": list("xyzzyx"), "order_date": "2024-01-01"}
)


@pytest.mark.parametrize("name", ["weight", "count", "value", "score", "overall"])
def test_numbers_of_a_purchase_choose_no_other_event_type(name: str) -> None:
    report = leanrec.ingest(ORDERS.assign(**{name: [1, 2, 3, 3, 2, 1]})).report
    assert list(report.event_types) == ["purchase"]
    if name in {"value", "score", "overall"}:
        assert any(repr(name) in each and f'columns={{"rating": "{name}"}}' in each for each in report.warnings)
        asked = leanrec.ingest(ORDERS.assign(**{name: [1, 2, 3, 3, 2, 1]}), columns={"rating": name})
        assert asked.data.events.rating is not None


def test_amounts_without_a_word_for_their_type_are_interactions() -> None:
    pairs = ORDERS[["customer_id", "product_id"]].assign(weight=[1, 2, 3, 3, 2, 1])
    assert list(leanrec.ingest(pairs).report.event_types) == ["interaction"]
    assert list(leanrec.ingest(pairs.rename(columns={"weight": "plays"})).report.event_types) == ["play"]


def test_what_a_shop_recommended_is_no_opinion_of_the_user() -> None:
    words = ["yes", "no"] * 3
    log = pd.DataFrame({"user": list("abcabc"), "item": list("xyzzyx")})
    for frame in (
        ORDERS.assign(recommended=words),
        log.assign(recommended=words),
        log.assign(is_recommended=[1, 0] * 3),
    ):
        report = leanrec.ingest(frame).report
        assert list(report.event_types) in (["purchase"], ["interaction"])
        told = next(each for each in report.warnings if "ecommended'" in each)
        assert 'columns={"label": ' in told
    assert set(leanrec.ingest(log.assign(recommended=words), columns={"label": "recommended"}).report.event_types) == {
        "like",
        "dislike",
    }
    assert set(leanrec.ingest(log.assign(recommended=words, review="nice")).report.event_types) == {"like", "dislike"}
