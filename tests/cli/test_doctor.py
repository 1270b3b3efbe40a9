"""``leanrec doctor`` on this machine."""

import json
from typing import Any


def test_all_checks_pass_on_this_machine(run: Any) -> None:
    code, out, _ = run("doctor", "--json")
    findings = {each["name"]: each["state"] for each in json.loads(out)}
    assert code == 0
    assert findings["pipeline"] == findings["torch"] == findings["extra [deep]"] == "ok"
