"""Sources of candidates: models with places of their own in each list, besides the model of the pipeline."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.pipeline.catalog import Catalog, Where
from leanrec.pipeline.provenance import check_estimator, get_model_name
from leanrec.pipeline.scorers import pad_scorer, unpad_scorer
from leanrec.protocols import Context, Estimator, Extendable, Scorer
from leanrec.retrieval.stages import StagePipeline, build_stages
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import Candidates, Queries

__all__ = ["CandidateSource", "FittedSource", "SourceStage", "check_sources", "fit_sources", "refit_sources"]

_MAX_SOURCES = 20
_MAX_POSITION = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
# What the other items of a list are called, and the names of other parts of a policy.
_RESERVED = frozenset(["model", "fallback", "pin", "rules", "learning"])


@dataclasses.dataclass(frozen=True)
class CandidateSource:
    """A model whose items have places of their own in each list.

    At each of its places a list shows the item that the source scores best, of those that the rules of the list allow and that
    are not in the list yet. Where the source has none left, the item of the model moves up. An item is never listed twice.

    Attributes:
        estimator: settings of the model: any model; `NewItems` for the newest ones; ``Popularity()`` for the popular ones.
        quota: largest number of items of this source in a list.
        positions: ranks of the places, 1 = the first. The source has them in a list of any length that is long enough. Places
            of the quota beyond these are the last ones of the list; all sources together take at most half of its places.
        where: only items that meet these conditions; see ``Catalog.filter_rows``.
        name: name in answers and in the policy; default: that of the model.

    Raises SettingError.
    """

    estimator: Estimator
    quota: int = 1
    positions: tuple[int, ...] = ()
    where: Where | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_estimator(self.estimator)
        if not self.name:
            object.__setattr__(self, "name", get_model_name(self.estimator))
        object.__setattr__(self, "positions", tuple(self.positions))
        if not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise SettingError(
                "The name of a source must have at most 40 small letters, digits and _ . -, and not be one of "
                f"{', '.join(sorted(_RESERVED))}. Got {self.name!r}."
            )
        check_at_least("quota", self.quota, 1)
        is_rank = [isinstance(each, int) and 1 <= each <= _MAX_POSITION for each in self.positions]
        if not all(is_rank) or len(set(self.positions)) < len(self.positions):
            raise SettingError(f"positions must be different ranks from 1 to {_MAX_POSITION}. Got {self.positions}.")
        if len(self.positions) > self.quota:
            raise SettingError(
                f"quota must be at least the number of positions, {len(self.positions)}. Got {self.quota}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class FittedSource:
    """A fitted `CandidateSource`.

    Attributes:
        name: name in answers and in the policy.
        quota: largest number of items in a list.
        positions: ranks of its places, 1 = the first.
        where: conditions on the items as JSON, or None.
        scorer: the fitted model; None = the fallback of the pipeline.
    """

    name: str
    quota: int
    positions: tuple[int, ...]
    where: str | None
    scorer: Any

    def check_state(self) -> None:
        """Raise DataError unless it scores items and has places."""
        if self.scorer is not None and not isinstance(self.scorer, Scorer):
            raise DataError(f"The source {self.name} must be a model that scores items.")
        if not 0 <= len(self.positions) <= self.quota or min(self.positions, default=1) < 1:
            raise DataError(f"The positions of the source {self.name} must be at most {self.quota}, from 1 on.")

    def extend(self, items: Table) -> "FittedSource":
        """The source with items of which the content is known, if its model can add them; else they are not in it."""
        can_add = isinstance(self.scorer, Extendable)
        return dataclasses.replace(self, scorer=self.scorer.extend(items)) if can_add else self

    def unpad(self) -> "FittedSource":
        """The source with a model over the items that it was fitted on."""
        return self if self.scorer is None else dataclasses.replace(self, scorer=unpad_scorer(self.scorer))


@dataclasses.dataclass(frozen=True, eq=False)
class SourceStage:
    """Finds the candidates of a source. Made once for each version of the items.

    Attributes:
        source: the source.
        stages: ranks the items.
        catalog: the items.
    """

    source: FittedSource
    stages: StagePipeline
    catalog: Catalog

    @classmethod
    def build(
        cls, source: FittedSource, catalog: Catalog, fallback: Scorer | None, rating_range: tuple[float, float] | None
    ) -> "SourceStage | None":
        """The stage of a source; None if it is the fallback and there is none."""
        scorer = fallback if source.scorer is None else pad_scorer(source.scorer, len(catalog))
        if scorer is None:
            return None
        return cls(source, build_stages(scorer, fallback, rating_range), catalog)

    def retrieve(self, queries: Queries, k: int, context: Context) -> Candidates:
        """(B, k) the items that the source ranks for each query and that the rules allow; −1 where it has no more.

        Items that it knows nothing of, and those of the fallback, are not among them.
        """
        if self.source.where is not None:
            matching = self.catalog.filter_rows(json.loads(self.source.where))
            allow = matching if context.allow is None else np.intersect1d(context.allow, matching)
            context = dataclasses.replace(context, allow=allow)
        found = self.stages.run(queries, min(k, len(self.catalog)), dataclasses.replace(context, end_stage=None))
        n_ranked = (found.items >= 0).sum(axis=1) if found.n_from_model is None else found.n_from_model
        if found.fallback is not None:
            n_ranked = np.where(found.fallback, 0, n_ranked)
        is_ranked = np.arange(found.items.shape[1]) < n_ranked[:, None]
        return dataclasses.replace(found, items=np.where(is_ranked, found.items, np.int32(-1)))


def check_sources(sources: Sequence[CandidateSource]) -> tuple[CandidateSource, ...]:
    """The sources, if their names and positions differ. Raises SettingError."""
    for each in sources:
        if not isinstance(each, CandidateSource):
            raise SettingError(f"sources must be CandidateSource objects. Got {each!r}; write CandidateSource(...).")
    if len(sources) > _MAX_SOURCES:
        raise SettingError(f"There must be at most {_MAX_SOURCES} sources. Got {len(sources)}.")
    names = [each.name for each in sources]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise SettingError(f"The sources must have different names. Two are {repeated!r}: give one another name.")
    positions = [position for each in sources for position in each.positions]
    taken = next((position for position in positions if positions.count(position) > 1), None)
    if taken is not None:
        raise SettingError(f"A position must belong to one source. Position {taken} is given to two.")
    return tuple(sources)


def fit_sources(
    sources: Sequence[CandidateSource], fallback: Estimator, data: Dataset, run: Run
) -> tuple[FittedSource, ...]:
    """Fit sources. One with the settings of the fallback is the fallback, and is updated as it is.

    Raises SettingError for conditions on columns that the items do not have, and BudgetError.
    """
    catalog = Catalog(data.items, data.item_table)
    fitted = []
    for each in check_sources(sources):
        try:
            if each.where is not None:
                catalog.filter_rows(each.where)
            scorer = None if each.estimator == fallback else each.estimator.fit(data, run)
        except SettingError as error:
            raise SettingError(f"Source {each.name}: {error}") from error
        where = None if each.where is None else json.dumps(each.where, sort_keys=True, ensure_ascii=False)
        fitted.append(FittedSource(each.name, each.quota, each.positions, where, scorer))
    return tuple(fitted)


def refit_sources(sources: Sequence[FittedSource], data: Dataset, run: Run) -> tuple[FittedSource, ...]:
    """Fit sources again on newer data, with the same settings.

    Raises SettingError for a model without settings.
    """
    refitted = []
    for each in sources:
        settings = getattr(each.scorer, "settings", None)
        if each.scorer is not None and not isinstance(settings, Estimator):
            raise SettingError(
                f"The source {each.name} must have settings to be fitted again. It has none. Fit it yourself."
            )
        scorer = None if settings is None else settings.fit(data, run)
        refitted.append(dataclasses.replace(each, scorer=scorer))
    return tuple(refitted)
