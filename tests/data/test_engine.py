"""DuckDB engine: quoting, results and limits."""

import numpy as np
import pytest

from leanrec.budget import Budget
from leanrec.data.engine import open_engine, quote_identifier, quote_literal, to_table_column
from leanrec.errors import BudgetError, SourceError
from leanrec.run import Run


def test_quotes_are_doubled() -> None:
    assert quote_identifier('a"b') == '"a""b"'
    assert quote_literal("it's") == "'it''s'"


def test_results_come_as_rows_streams_and_arrays() -> None:
    with open_engine(Run()) as engine:
        engine.register_table("numbers", {"x": np.arange(3)})
        assert engine.fetch_rows("SELECT sum(x) FROM numbers") == [(3,)]
        assert [row for rows in engine.stream_rows("SELECT x FROM numbers ORDER BY x") for row in rows] == [
            (0,),
            (1,),
            (2,),
        ]
        assert engine.fetch_arrays("SELECT x + 1 AS y FROM numbers ORDER BY x")["y"].tolist() == [1, 2, 3]


def test_errors_name_what_failed() -> None:
    with open_engine(Run()) as engine, pytest.raises(SourceError, match="The query cannot be read: .*nothing_there"):
        engine.execute("SELECT * FROM nothing_there", "The query")


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(BudgetError, match="Reading a log needs at least"), open_engine(Run(budget=Budget(memory=1e6))):
        pass


def test_columns_become_text_or_numbers_with_missing_values() -> None:
    assert to_table_column(np.ma.array(["a", "b"], mask=[False, True])).tolist() == ["a", ""]
    numbers = to_table_column(np.ma.array([1, 2], mask=[False, True]))
    assert numbers[0] == 1
    assert np.isnan(numbers[1])
