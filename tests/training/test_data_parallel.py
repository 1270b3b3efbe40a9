"""Data-parallel training in two processes: same weights as one, common decisions, and errors for lost workers."""

import dataclasses
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts import two_workers
from leanrec.budget import Budget
from leanrec.callbacks import ModelCheckpoint
from leanrec.cli import distributed
from leanrec.errors import DivergedError, LeanrecError, SettingError, WorkerError
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run
from leanrec.training.config import TrainingSettings
from leanrec.training.data_parallel import WorkerGroup
from leanrec.training.trainer import TrainingHistory, train

pytestmark = pytest.mark.system

SETTINGS = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.05, max_grad_norm=1.0, weight_decay=0.1)
TWO_AS_ONE = dataclasses.replace(SETTINGS, gradient_accumulation=2)


class Network(nn.Module):
    """All cases: dense and sparse tables, dropout, a weight used by one batch, and one used by none."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 4, sparse=True)
        self.other = nn.Embedding(10, 4, sparse=True)
        self.dense = nn.Embedding(30, 4)
        self.out = nn.Linear(4, 1)
        self.seldom, self.never = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
        self.norm = nn.BatchNorm1d(4, affine=False, track_running_stats=False)


@dataclasses.dataclass
class Lessons:
    """Seven batches, which do not divide evenly between two workers."""

    count: int = 7
    broken: tuple[int, ...] = ()
    pause: float = 0.0
    asked: int = 0

    def batches(self, rng: np.random.Generator) -> list[tuple[int, Tensor]]:
        order = rng.permutation(self.count).tolist()
        return [(i, torch.from_numpy(rng.integers(0, 30, 8))) for i in order]

    def loss(self, network: Network, batch: tuple[int, Tensor], rng: np.random.Generator) -> Tensor:
        number, rows = batch
        self.asked += 1
        time.sleep(self.pause)
        negatives = torch.from_numpy(rng.integers(0, 30, 8))
        x = network.table(rows) * network.dense(negatives)
        if number % 2:
            x = x + network.other(rows % 10)
        if number == 3:
            x = x * network.seldom.sum()
        x = nn.functional.dropout(network.norm(x), 0.5, training=True)
        loss = (network.out(x)[:, 0] - rows / 30).square().mean()
        return loss * math.nan if self.asked in self.broken else loss


def learn(
    settings: TrainingSettings, lessons: Lessons, run: Run = Run(threads=1), **more: Any
) -> tuple[TrainingHistory, nn.Module]:
    torch.manual_seed(WorkerGroup.current().rank)  # the first worker's weights count
    network = Network()
    return train(network, lessons, settings, run, **more), network


def arrays(network: nn.Module) -> dict[str, Any]:
    return {name: value.tolist() for name, value in network.state_dict().items()}


# ---- what the two processes do


def steps() -> dict[str, Any]:
    history, network = learn(SETTINGS, Lessons())
    return {"losses": history.losses, "weights": arrays(network)}


def one_out_of_time() -> dict[str, Any]:
    seconds = 0.2 if WorkerGroup.current().rank == 1 else None
    lessons = Lessons(pause=0.05)
    history, _ = learn(
        dataclasses.replace(SETTINGS, epochs=1000), lessons, Run(threads=1, budget=Budget(fit_time=seconds))
    )
    return {"stopped": history.stopped, "epochs": len(history.losses), "asked": lessons.asked}


def scores_differ() -> dict[str, Any]:
    """The first worker's scores fall, the other's rise."""
    sign = -1 if WorkerGroup.current().is_first else 1
    scores = iter(range(100))
    history, _ = learn(
        dataclasses.replace(SETTINGS, epochs=9, patience=2), Lessons(), score=lambda: sign * next(scores)
    )
    return {"stopped": history.stopped, "epochs": len(history.losses), "best": history.best}


def one_diverges_later() -> dict[str, Any]:
    # Step 6 is in the second epoch, and the first of two whose gradients make one step.
    lessons = Lessons(broken=(7,) if WorkerGroup.current().rank == 1 else ())
    history, network = learn(dataclasses.replace(SETTINGS, gradient_accumulation=2), lessons)
    finite = all(bool(value.isfinite().all()) for value in network.state_dict().values())
    return {"stopped": history.stopped, "epochs": len(history.losses), "finite": finite}


def one_diverges_at_once() -> dict[str, Any]:
    try:
        learn(SETTINGS, Lessons(broken=(2,) if WorkerGroup.current().rank == 1 else ()))
    except DivergedError as error:
        return {"error": str(error)}
    return {}


def other_data() -> dict[str, Any]:
    try:
        learn(SETTINGS, Lessons(count=7 + WorkerGroup.current().rank))
    except WorkerError as error:
        return {"error": str(error)}
    return {}


def goes_on(folder: Path) -> dict[str, Any]:
    """Two epochs, then all three from the checkpoint."""
    run = Run(threads=1, callbacks=(ModelCheckpoint(folder / "checkpoint"),))
    scores = iter(range(100))

    def stop_after_two() -> float:
        if next(scores) == 1:
            raise KeyboardInterrupt
        return 0.0

    try:
        learn(SETTINGS, Lessons(), run, score=stop_after_two)
    except KeyboardInterrupt:
        history, network = learn(SETTINGS, Lessons(), run, score=lambda: float(next(scores)))
        return {"losses": history.losses, "weights": arrays(network)}
    return {}


def tasks(folder: Path) -> dict[str, Any]:
    todo = (steps, one_out_of_time, scores_differ, one_diverges_later, one_diverges_at_once, other_data)
    return {each.__name__: each() for each in todo} | {"goes_on": goes_on(folder)}


def lose_one(how: str) -> dict[str, Any]:
    """The second worker ends or hangs in the middle."""
    lessons = Lessons()
    plain = lessons.loss

    def loss(*arguments: Any) -> Tensor:
        if WorkerGroup.current().rank == 1 and lessons.asked == 2:
            os._exit(3) if how == "dead" else time.sleep(60)
        return plain(*arguments)

    lessons.loss = loss  # type: ignore[method-assign]
    try:
        learn(SETTINGS, lessons)
    except WorkerError as error:
        return {"error": str(error)}
    return {}


def main(what: str, folder: Path) -> None:
    found = tasks(folder) if what == "tasks" else lose_one(what)
    two_workers.write(what, folder, found)


# ---- what is expected of them


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of the two workers."""
    return two_workers.both(__file__, "tasks", tmp_path_factory.mktemp("two"))


def test_two_workers_equal_one_that_accumulates(both: tuple[dict[str, Any], ...]) -> None:
    torch.manual_seed(0)
    network = Network()
    with torch.random.fork_rng(devices=[]):
        history = train(network, Lessons(), TWO_AS_ONE, Run(threads=1))
    assert both[0]["steps"] == both[1]["steps"]
    np.testing.assert_allclose(both[0]["steps"]["losses"], history.losses, rtol=1e-5)
    for name, value in arrays(network).items():
        np.testing.assert_allclose(both[0]["steps"]["weights"][name], value, rtol=2e-4, atol=2e-5, err_msg=name)


def test_interrupted_parallel_training_resumes_identically(both: tuple[dict[str, Any], ...]) -> None:
    assert both[0]["goes_on"] == both[0]["steps"]
    assert both[1]["goes_on"] == both[1]["steps"]


def test_all_workers_stop_when_one_is_out_of_time(both: tuple[dict[str, Any], ...]) -> None:
    found = both[0]["one_out_of_time"]
    assert found == both[1]["one_out_of_time"]
    assert found["stopped"] == "time"
    assert found["asked"] < 40


def test_patience_uses_the_score_of_the_first_worker(both: tuple[dict[str, Any], ...]) -> None:
    for each in both:
        assert each["scores_differ"] == {"stopped": "patience", "epochs": 3, "best": 0}


def test_all_workers_keep_the_best_weights_after_a_nonfinite_loss(both: tuple[dict[str, Any], ...]) -> None:
    for each in both:
        assert each["one_diverges_later"] == {"stopped": "diverged", "epochs": 1, "finite": True}


def test_all_workers_raise_for_a_nonfinite_loss_in_the_first_epoch(both: tuple[dict[str, Any], ...]) -> None:
    assert "the loss of another worker became nan in epoch 1, step 2" in both[0]["one_diverges_at_once"]["error"]
    assert "the loss became nan in epoch 1, step 2" in both[1]["one_diverges_at_once"]["error"]


def test_workers_with_different_data_raise(both: tuple[dict[str, Any], ...]) -> None:
    for each in both:
        assert "the same number of batches. Got 7, 8" in each["other_data"]["error"]


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_lost_worker_raises_instead_of_hanging(how: str, tmp_path: Path) -> None:
    first, second = two_workers.start(__file__, how, tmp_path, LEANREC_WORKER_TIME="2s")
    try:
        said = first.communicate(timeout=60)[1]
        assert Path(tmp_path, f"{how}-0.json").exists(), said
    finally:
        second.kill()
        second.communicate()
    assert (
        "Worker 0 of 2 lost another worker, which ended or did not answer for 2 s"
        in two_workers.answer(how, tmp_path, 0)["error"]
    )


def test_workers_that_cannot_connect_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(LeanrecError, match="must be able to connect. WORLD_SIZE is 2.*Start them with torchrun"):
        WorkerGroup.current()


def test_time_limit_without_a_unit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LEANREC_WORKER_TIME", "300")
    with pytest.raises(LeanrecError, match="LEANREC_WORKER_TIME: A duration must be a number and a unit.*Got '300'"):
        WorkerGroup.current()


def test_torchrun_fits_the_same_model_and_only_the_first_worker_prints(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = [f"{user},{(user * 7 + place + rng.integers(2)) % 25},{place}" for user in range(30) for place in range(8)]
    Path(tmp_path, "log.csv").write_text("user,item,time\n" + "\n".join(events), encoding="utf-8")
    common = ["fit", "sasrec", str(tmp_path / "log.csv"), "--threads", "1"]
    for each in ("epochs=2", "embedding_dim=8", "max_length=8", "batch_size=32"):
        common += ["--set", each]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "leanrec"]
    alone = [sys.executable, "-m", "leanrec"]
    outs = tmp_path / "two", tmp_path / "one"
    said = subprocess.run([*run, *common, "--out", outs[0]], capture_output=True, text=True, timeout=200)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("sasrec fitted on 240 events") == 1
    subprocess.run(
        [*alone, *common, "--set", "gradient_accumulation=2", "--out", outs[1]],
        capture_output=True,
        check=True,
        timeout=100,
    )
    first, second = (Pipeline.load(out) for out in outs)
    for user in range(5):
        scores = [{shown.id: shown.score for shown in each.recommend(user=user, n=5).items} for each in (first, second)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3, abs=1e-4)


def test_torchrun_is_refused_for_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SettingError, match="Under torchrun the command must be fit. Got 'evaluate'"):
        distributed.prepare_worker(["evaluate", "log.csv"])
    assert distributed.error_prefix() == "error in worker 1:"


def test_all_workers_get_the_same_number_of_batches() -> None:
    dealt = [WorkerGroup(rank, 3).assign_batches(7) for rank in range(3)]
    assert [list(each) for each in dealt] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert list(WorkerGroup().assign_batches(3)) == [0, 1, 2]
    assert not list(WorkerGroup(1, 2).assign_batches(0))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
