"""Commands under torchrun: the first process prints, and only ``fit`` runs."""

import pytest

from leanrec.cli import distributed
from leanrec.errors import SettingError


def test_a_single_process_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.is_single()
    assert distributed.is_first()
    assert distributed.error_prefix() == "error:"


def test_only_fit_runs_on_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    distributed.prepare_worker(["fit", "sasrec"])
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SettingError, match="Under torchrun the command must be fit"):
        distributed.prepare_worker(["evaluate", "log.csv"])
    assert distributed.error_prefix() == "error in worker 1:"
