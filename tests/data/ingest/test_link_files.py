"""Links from files: columns, missing headers and rejected rows."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ColumnError

LOG = pd.DataFrame({"user": ["ann", "bob"], "item": ["heat", "ronin"]})


@pytest.mark.parametrize("header", ["subject,predicate,object\n", ""])
def test_triples_are_read_with_and_without_a_header(header: str, tmp_path: Path) -> None:
    file = tmp_path / "triples.csv"
    file.write_text(header + "heat,actor,pacino\nheat,actor,pacino\nronin,actor,niro\n")
    data, report = ingest(LOG, item_links=file)
    assert data.item_links is not None
    assert len(data.item_links) == 2
    assert report.rejected_in_tables == {"item links: repeated triple (it counts once)": 1}


def test_a_missing_column_is_reported_with_the_argument() -> None:
    links = pd.DataFrame({"head": ["heat"], "relation": ["actor"], "odd": ["pacino"]})
    with pytest.raises(ColumnError, match=r'no tail column.*columns=\{"item_links.tail": "COLUMN"\}'):
        ingest(LOG, item_links=links)
    data, _ = ingest(LOG, item_links=links, columns={"item_links.tail": "odd"})
    assert data.item_links is not None
