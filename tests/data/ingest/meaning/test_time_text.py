"""Times as programs print them: understood with their zone, or not at all."""

import pytest

from leanrec.data.engine import open_engine, quote_literal
from leanrec.data.ingest.meaning.time_text import parse_text
from leanrec.run import Run

TIMES = {
    "2024-03-01T10:00-05:00": "2024-03-01 15:00:00",
    "2024-03-01 10:00:00 America/New_York": "2024-03-01 15:00:00",
    "2024-03-01 10:00:00 CET": "2024-03-01 09:00:00",
    "2024-03-01 10:00:00 CEST": "2024-03-01 08:00:00",
    "2024-03-01 10:00:00+0530": "2024-03-01 04:30:00",
    "2024-03-01 10:00:00 +01": "2024-03-01 09:00:00",
    "2024-03-01T10:00:00.123456789+01:00": "2024-03-01 09:00:00.123456",
    "2024-03-01T10:00:00+01:00[Europe/Berlin]": "2024-03-01 09:00:00",
    "2024-03-01 10:00:00 +0000 UTC": "2024-03-01 10:00:00",
    "2024-03-01 10:00:00,123": "2024-03-01 10:00:00.123",
    "2024-03-01 01:00:00 PM": "2024-03-01 13:00:00",
    "2024-03-01T10:00:00Z": "2024-03-01 10:00:00",
    "Thu Aug 17 15:00:00 -0700 2017": "2017-08-17 22:00:00",
    "Thu Aug 17 15:00:00 PDT 2017": "2017-08-17 22:00:00",
    "Thu Aug  7 15:00:00 2017": "2017-08-07 15:00:00",
    "Thu, 17 Aug 2017 15:00:00 GMT": "2017-08-17 15:00:00",
    "Thu, 17 Aug 2017 15:00:00 -0700": "2017-08-17 22:00:00",
    "17/Aug/2017:15:00:00 -0700": "2017-08-17 22:00:00",
    "Thu Aug 17 2017 15:00:00 GMT-0700 (Pacific Daylight Time)": "2017-08-17 22:00:00",
    "20240301T100000Z": "2024-03-01 10:00:00",
    "Mar 1, 2024, 1:05 PM": "2024-03-01 13:05:00",
    "01-Mar-24": "2024-03-01 00:00:00",
    "01.03.24 10.05": "2024-03-01 10:05:00",
    "01.03.2024 10.05": "2024-03-01 10:05:00",
    "01-MAR-24 01.05.06.123456 PM": "2024-03-01 13:05:06.123456",
    "01-MAR-24 01.05.06 PM": "2024-03-01 13:05:06",
    "Friday, 01 March 2024 10:05": "2024-03-01 10:05:00",
    "Friday 1 March 2024": "2024-03-01 00:00:00",
    "Timestamp('2024-03-01 10:00:00')": "2024-03-01 10:00:00",
    "Timestamp('2024-03-01 10:00:00+0100', tz='Europe/Berlin')": "2024-03-01 09:00:00",
    "numpy.datetime64('2024-03-01T10:00:00.500')": "2024-03-01 10:00:00.5",
    'ISODate("2024-03-01T10:00:00Z")': "2024-03-01 10:00:00",
    "datetime.datetime(2024, 3, 1, 10, 0, 5)": "2024-03-01 10:00:05",
    "datetime.datetime(2024, 3, 1, 10, 0)": "2024-03-01 10:00:00",
    "datetime.date(2024, 3, 1)": "2024-03-01 00:00:00",
    "Timedelta('2024-03-01 10:00:00')": None,
    "2024-03-01 10:00:00 BST": None,
    "2024-03-01 10:00:00 XYZ": None,
    "2024-03-01 10:00:00 Europe/Nowhere": None,
    "2024-03-01 10:00 GMT+1": None,
    "2024-03-01 10:00:00 foo": None,
    "yesterday": None,
}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_times_are_understood_with_all_of_their_text(zone: str) -> None:
    values = ", ".join(f"({i}, {quote_literal(text)})" for i, text in enumerate(TIMES))
    with open_engine(Run()) as engine:
        engine.execute(f"SET TimeZone = '{zone}'")
        rows = engine.fetch_rows(f"SELECT x, ({parse_text('x')})::VARCHAR FROM (VALUES {values}) AS t(i, x) ORDER BY i")
    assert dict(rows) == TIMES


def test_the_text_that_has_its_zone_is_written_once() -> None:
    """Each further copy of it took time to plan, for every file whose dates are not in ISO 8601."""
    assert parse_text("x").count("(GMT|UTC)") == 1
