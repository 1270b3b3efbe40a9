"""Routes of the dashboard: its page, and the JSON that only this page reads, which may change with it."""

import contextlib
import dataclasses
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.exceptions import HTTPException

from leanrec.errors import ArtifactError, ConflictError
from leanrec.online.version_store import VersionStore
from leanrec.serving.dashboard.drift_reports import DriftReports
from leanrec.serving.dashboard.experiment_reports import ExperimentReports
from leanrec.serving.dashboard.off_policy_reports import OffPolicyReports
from leanrec.serving.dashboard.page_files import PAGE_FILES
from leanrec.serving.dashboard.traffic_history import TrafficHistory
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.load.control import LoadControl
from leanrec.serving.schemas import ListRulesResponse

__all__ = ["add_dashboard"]

_MAX_HISTORY = 30  # promotions and trials


class _ChangeVersionRequest(BaseModel):
    """A change of the version that is served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["promote", "rollback", "stop"]
    version: str | None = Field(None, min_length=1, max_length=100)
    reason: str | None = Field(None, max_length=500)
    fence: StrictInt = Field(ge=0)


def add_dashboard(
    app: FastAPI, recorder: EventRecorder, load: LoadControl, history: TrafficHistory, *, has_keys: bool
) -> None:
    """Add the routes of the dashboard to an app.

    Args:
        app: the app.
        recorder: records the events; it has pipeline, log and metrics.
        load: the load control.
        history: the traffic of the last minutes.
        has_keys: whether requests need a key. Without keys versions cannot be changed here.
    """
    handlers = _DashboardHandlers(recorder, load, history, may_change=has_keys)
    app.add_api_route("/dashboard/traffic", handlers.get_traffic, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/drift", handlers.get_drift, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/versions", handlers.get_versions, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/experiment", handlers.get_experiment, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/list-rules", handlers.get_list_rules, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/off-policy", handlers.get_off_policy, methods=["GET"], include_in_schema=False)
    app.add_api_route("/dashboard/versions", handlers.post_versions, methods=["POST"], include_in_schema=False)
    # The page loads nothing from other hosts, except images that the item table names, and cannot be framed.
    image_sources = "'self' data: https:" if recorder.live.pipeline.catalog.image_column else "'self' data:"
    headers = {
        "Content-Security-Policy": f"default-src 'self'; img-src {image_sources}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    for path, (name, media_type) in PAGE_FILES.items():
        handler = _make_file_handler(name, media_type, headers)
        app.add_api_route(path, handler, methods=["GET", "HEAD"], include_in_schema=False)


class _DashboardHandlers:
    """The handlers of the JSON routes. They run in threads."""

    def __init__(
        self, recorder: EventRecorder, load: LoadControl, history: TrafficHistory, *, may_change: bool
    ) -> None:
        self._load, self._history = load, history
        self._live, self._log = recorder.live, recorder.log
        self._may_change = may_change
        self._reports: ExperimentReports | None = None
        self._drift_reports = DriftReports(self._log.location)
        self._off_policy_reports = OffPolicyReports(self._log.location)

    def get_traffic(self, after: float = 0.0) -> dict[str, Any]:
        """Sums of all processes since the start, at each look later than a time, and the state of the server now."""
        self._history.look()
        pipeline = self._live.pipeline
        return {
            "samples": self._history.list_looks(after),
            "rung": self._load.rung,
            "workers": self._live.n_processes,
            "users": pipeline.n_users,
            "items": len(pipeline.catalog),
            "model": pipeline.name,
            "version": pipeline.version,
            "log": self._describe_log(),
        }

    def get_drift(self) -> dict[str, Any]:
        """Whether the responses to the version that is served have fallen, at most five minutes old."""
        return self._drift_reports.read(self._live.pipeline.version)

    def get_versions(self) -> dict[str, Any]:
        """What is served, on trial and stored, and the last changes."""
        live, store = self._live, self._live.store
        trial = live.trial
        described: dict[str, Any] = {
            "model": live.pipeline.name,
            "version": live.pipeline.version,
            "trial": None if trial is None else trial.describe() | {"processes": live.n_processes},
            "has_store": store is not None,
            "may_change": store is not None and self._may_change,
        }
        if store is None:
            return described
        versions, promotions, trials = store.versions(), store.promotions(), store.trials()
        return described | {
            "store": str(store.path),
            "fence": store.fence,
            "versions": [dataclasses.asdict(each) | {"path": str(each.path)} for each in versions],
            "promotions": [dataclasses.asdict(each) for each in promotions[-_MAX_HISTORY:]],
            "trials": [dataclasses.asdict(each) for each in trials[-_MAX_HISTORY:]],
        }

    def post_versions(self, request: _ChangeVersionRequest) -> dict[str, Any]:
        """Promote a version, go back to the one before, or stop the trial, unless there was another change meanwhile."""
        store = self._find_store()
        if not self._may_change:
            raise HTTPException(403, "Only a server with keys changes versions here. Use the command leanrec versions.")
        try:
            self._change_version(store, request)
        except (ArtifactError, ConflictError) as error:
            raise HTTPException(409, str(error)) from error
        return self.get_versions()

    def get_experiment(self) -> dict[str, Any]:
        """The report of the last experiment, at most 30 seconds old."""
        if self._reports is None:
            self._reports = ExperimentReports(self._log.location, self._live.store)
        return self._reports.read()

    def get_list_rules(self) -> ListRulesResponse:
        """The rules of lists, as ``GET /list-rules`` answers; this one is no traffic."""
        return ListRulesResponse.of_live(self._live)

    def get_off_policy(self, version: str) -> dict[str, Any]:
        """What a version would have earned, from lists that explored; at most five minutes old."""
        try:
            found = self._find_store().find(version)
        except ArtifactError as error:
            raise HTTPException(404, str(error)) from error
        return self._off_policy_reports.read(found)

    def _find_store(self) -> VersionStore:
        if self._live.store is None:
            raise HTTPException(409, "The server must serve a store of versions. It serves one model.")
        return self._live.store

    def _change_version(self, store: VersionStore, request: _ChangeVersionRequest) -> None:
        if request.action == "rollback":
            store.rollback(fence=request.fence)
        elif request.action == "stop":
            store.stop_trial(request.reason, "the dashboard", fence=request.fence)
        elif request.version is None:
            raise HTTPException(422, "version must be the id of the version to promote. Got none.")
        else:
            store.promote(request.version, fence=request.fence)

    def _describe_log(self) -> dict[str, Any]:
        location, n_bytes = self._log.location, None
        with contextlib.suppress(OSError):
            n_bytes = location.stat().st_size if isinstance(location, Path) else None  # None: a database
        problem = self._log.guard.find_problem()
        return {
            "events": self._live.last_seq,
            "bytes": n_bytes,
            "waiting_seconds": self._log.waiting_seconds(),
            "problem": None if problem is None else str(problem),
        }


def _make_file_handler(name: str, media_type: str, headers: dict[str, str]) -> Callable[[], Response]:
    content = files("leanrec.serving").joinpath("dashboard", name).read_bytes()
    return lambda: Response(content, media_type=media_type, headers=headers)
