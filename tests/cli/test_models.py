"""``leanrec models``: the list, and the settings of one model."""

import json
from typing import Any


def test_models_lists_every_family_and_the_settings_of_one(run: Any) -> None:
    _, out, _ = run("models", "--json")
    assert {"popularity", "content", "ease", "ials", "user_knn"} <= {model["name"] for model in json.loads(out)}
    _, out, _ = run("models", "ease")
    assert "l2" in out


def test_models_can_be_filtered_by_what_they_read(run: Any) -> None:
    _, out, _ = run("models", "--reads", "users", "--json")
    names = {model["name"] for model in json.loads(out)}
    assert {"two_tower", "deepfm", "dcn", "dlrm", "wide_deep", "multitask"} <= names
    assert not {"ease", "ials", "content", "sasrec", "popularity"} & names
    code, _, err = run("models", "--reads", "people")
    assert code == 2
    assert "--reads must be one of" in err


def test_settings_have_type_default_range_and_meaning(run: Any) -> None:
    _, out, _ = run("models", "ease", "--json")
    settings = {each["name"]: each for each in json.loads(out)["settings"]}
    assert settings["l2"]["search"]
    assert all(each["type"] for each in settings.values())
