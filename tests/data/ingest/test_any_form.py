"""A log is read as it was written, whatever its form, or refused: nothing is different without a word."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import log_forms, log_tables
from contracts.followed_advice import read_log
from contracts.known_logs import known_logs, list_events
from leanrec.errors import LeanrecError

Roles = Sequence[tuple[str, ...]] | None

pytestmark = pytest.mark.slow

# Form → roles of its logs, kinds of their ids (None: any), and the strategy that writes a log.
FORMS: dict[str, tuple[Roles, Sequence[str] | None, Callable[..., st.SearchStrategy[Any]]]] = {
    "text": (None, None, log_forms.written_texts),
    "folder": (None, None, log_forms.folders_of_texts),
    "partitions": ([("event_type",), ("event_type", "time")], None, log_forms.hive_folders),
    "typed header": ([("rating", "time"), ("time",), ()], None, log_forms.typed_headers),
    "lines": ([()], log_forms.LINE_KINDS, log_forms.line_layouts),
    "matrix": ([("rating",)], ("numbers", "prefixed", "hashes", "words"), log_forms.wide_matrices),
    "JSON": (None, None, log_tables.written_json),
    "Parquet": (None, None, log_tables.written_parquet),
    "tables": (None, None, log_tables.written_tables),
    "workbook": (None, None, log_tables.written_workbooks),
    "Avro": (None, None, log_tables.written_avro),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_log_is_read_as_it_was_written_or_refused(form: str, data: st.DataObject) -> None:
    choices, kinds, write = FORMS[form]
    log = data.draw(known_logs(None if choices is None else data.draw(st.sampled_from(choices)), kinds))
    with tempfile.TemporaryDirectory() as folder:
        written = data.draw(write(log, Path(folder)))
        try:
            read, _ = read_log(written)
        except LeanrecError:
            return
        found = list_events(read.data, log.roles)
    expected = log.list_events()
    if not written.is_ordered:
        expected, found = (
            {user: sorted(each, key=repr) for user, each in events.items()} for events in (expected, found)
        )
    assert found == expected, written.form
