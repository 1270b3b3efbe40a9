"""The form of errors over HTTP."""

import json

from leanrec.serving.error_handlers import error_response


def test_an_error_has_a_default_hint_for_its_status() -> None:
    unknown = json.loads(error_response(404, "No item.", "/similar/1").body)
    assert unknown["error"]["hint"].startswith("GET /items?search=")
    assert json.loads(error_response(422, "Wrong.", "body.n").body)["error"]["hint"].startswith("Correct the request")
    given = json.loads(error_response(500, "Defect.", "/", "Report it.").body)
    assert given == {"error": {"message": "Defect.", "location": "/", "hint": "Report it."}}


def test_invalid_unicode_is_escaped() -> None:
    response = error_response(422, "Got '\ud800'.", "body")
    assert json.loads(response.body)["error"]["message"] == "Got '\\ud800'."
