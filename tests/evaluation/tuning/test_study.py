"""Studies: proposals, stored results, and stores that cannot be used."""

from pathlib import Path

import pytest

pytest.importorskip("optuna")

from leanrec.errors import ArtifactError
from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.tuning.search_space import Categorical, NumericRange
from leanrec.evaluation.tuning.study import Study, Trial

SPACE = {"l2": NumericRange(1, 100, log=True), "weighting": Categorical(("none", "log")), "depth": Categorical((3,))}


def open_study(store: Path | None = None, about: str = "a") -> Study:
    return Study(SPACE, seed=1, prune="none", store=store, about={"data": about})


def run_trials(study: Study, n: int) -> list[dict[str, object]]:
    for number in range(n):
        active = study.ask({"l2": 10.0, "weighting": "log", "depth": 3} if number == 0 else None)
        study.tell(active, Trial(active.number, active.settings, "completed", 0.1 * number), 0.1 * number)
    return [dict(trial.settings) for trial in study.trials()]


def test_the_first_trial_has_the_default_settings_and_all_are_in_the_space() -> None:
    settings = run_trials(open_study(), 4)
    assert settings[0] == {"l2": 10.0, "weighting": "log", "depth": 3}
    assert all(SPACE[name].contains(each[name]) for each in settings for name in SPACE)


def test_proposals_depend_on_the_seed_and_the_number_only(tmp_path: Path) -> None:
    whole = run_trials(open_study(), 5)
    run_trials(open_study(tmp_path / "s.log"), 1)
    resumed = open_study(tmp_path / "s.log")
    for _ in range(4):
        active = resumed.ask()
        resumed.tell(
            active, Trial(active.number, active.settings, "completed", 0.1 * active.number), 0.1 * active.number
        )
    assert [dict(trial.settings) for trial in resumed.trials()] == whole


def test_test_results_are_stored_by_fingerprint(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log")
    quality = QualityEstimate(0.5, 0.4, 0.6, 10)
    study.save_test_results("abc", {3: quality})
    assert open_study(tmp_path / "s.log").load_test_results("abc") == {3: quality}
    assert study.load_test_results("def") == {}


def test_the_store_of_another_search_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path / "s.log")
    with pytest.raises(ArtifactError, match=r"holds another search \(data: a there, b here\)"):
        open_study(tmp_path / "s.log", about="b")
    (tmp_path / "junk").write_text("not a store\n")
    with pytest.raises(ArtifactError, match="cannot be read as the store"):
        open_study(tmp_path / "junk")
