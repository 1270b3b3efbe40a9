"""``leanrec models``: the list, and the settings of one model."""

import json
from typing import Any

from leanrec.models import list_models


def test_models_lists_every_family_and_the_settings_of_one(run: Any) -> None:
    _, out, _ = run("models", "--json")
    assert {"popularity", "content", "ease", "ials", "user_knn"} <= {model["name"] for model in json.loads(out)}
    _, out, _ = run("models", "ease")
    assert "l2" in out


def test_models_declare_whether_they_use_the_user_table() -> None:
    infos = list_models()
    assert infos["two_tower"].reads_users
    assert infos["deepfm"].reads_users
    assert not infos["ease"].reads_users
