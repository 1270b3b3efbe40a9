"""Retail logs: rows of invoices or orders are purchases, and negative quantities are returns."""

import dataclasses
import re
from collections.abc import Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.meaning.column_names import split_words

__all__ = ["PURCHASE", "RETURN", "RetailColumns", "find_retail", "find_returned"]

PURCHASE = "purchase"
"""Event type of a row of an invoice or an order."""

RETURN = "return"
"""Event type of a row whose units came back."""

_DOCUMENTS = frozenset(["invoice", "receipt", "lineitem", "factura", "facture", "fattura", "fatura", "rechnung"])
_SALES = frozenset(["order", "basket", "transaction", "purchase", "sale", "ticket", "bill", "checkout"])
_DATES = frozenset(["date", "time", "timestamp", "at"])
_NUMBERED = frozenset(["id", "no", "nr", "number", "num", "key", "code"]) | _DATES
_OF_USERS = frozenset(["first", "last", "previous", "next"])  # first_purchase_date describes the user
_QUANTITIES = frozenset(
    ["quantity", "qty", "cantidad", "quantidade", "quantite", "quantita", "menge", "ilosc", "количество", "数量"]
)
# The cancellation of the invoice 536379 is C536379.
_CANCELED = re.compile(r"[Cc]\d.*")


@dataclasses.dataclass(frozen=True)
class RetailColumns:
    """The columns of a log of purchases.

    Attributes:
        document: column whose name says that a row belongs to an invoice or an order, or None.
        quantity: column with the number of units, below zero where they came back, or None.
    """

    document: str | None
    quantity: str | None

    @property
    def names(self) -> set[str]:
        """Names of the columns there are."""
        return {name for name in (self.document, self.quantity) if name is not None}

    @property
    def note(self) -> str:
        """How the columns were understood, in sentences."""
        told = []
        if self.document is not None:
            told.append(
                f"{self.document!r} says that each row is a purchase, which is its event type. For events of no type pass "
                'columns={"event_type": None}.'
            )
        if self.quantity is not None:
            told.append(
                f"{self.quantity!r} has numbers of units, which are no ratings and no weights. To count them as the weight, pass "
                f'columns={{"weight": "{self.quantity}"}}.'
            )
        return " ".join(told)

    def count_units(self, number: str) -> str:
        """SQL: the units of a row, below zero for a return. ``number`` is the quantity in SQL, "1" where there is none."""
        if self.document is None:
            return number
        canceled = f"regexp_full_match({quote_identifier(self.document)}::VARCHAR, {quote_literal(_CANCELED.pattern)})"
        return f"CASE WHEN {canceled} THEN -abs({number}) ELSE {number} END"


def find_retail(names: Sequence[str]) -> RetailColumns | None:
    """Return the columns of a log of purchases by their names, None where no name says so."""
    quantity: str | None = None
    documents: list[str] = []
    dates: list[str] = []
    for name in names:
        words = split_words(name)
        if words and {words[0], words[-1]} & _QUANTITIES:
            quantity = quantity or name
        elif _OF_USERS & set(words):
            continue
        elif _DOCUMENTS & set(words) or (words and words[-1] in _NUMBERED and _SALES & set(words[-2:-1])):
            # A number identifies the document; a date only says that there is one.
            (dates if words[-1] in _DATES else documents).append(name)
    document = next(iter([*documents, *dates]), None)
    return None if document is None and quantity is None else RetailColumns(document, quantity)


def find_returned(engine: SqlEngine) -> int:
    """Make ``returned``, the users and items of which as many units came back as were bought; return the number of returns.

    ``staged`` has the units ``q`` of each row. Cost: two scans of it, and memory for the pairs with a return.
    """
    returns = int(engine.fetch_rows("SELECT count(*) FROM staged WHERE bad = 0 AND q < 0")[0][0])
    some = "(usr, itm) IN (SELECT (usr, itm) FROM staged WHERE bad = 0 AND q < 0)" if returns else "false"
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE returned AS SELECT usr, itm FROM staged WHERE bad = 0 AND {some} "
        "GROUP BY usr, itm HAVING sum(q) <= 0"
    )
    return returns
