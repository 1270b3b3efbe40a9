"""Current snapshot: what answers requests, replaced as items are added or hidden and the model is updated."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leanrec.data.merge import append_rows, find_new_ids
from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import DataError, SettingError
from leanrec.finiteness import check_finite
from leanrec.pipeline.catalog import Catalog, extend_ids, to_id_list
from leanrec.pipeline.lists.rules import ListRules, RuleStage
from leanrec.pipeline.responses import AddItemsResult
from leanrec.pipeline.scorers import pad_scorer, unpad_scorer
from leanrec.pipeline.snapshot import Snapshot
from leanrec.protocols import Extendable, Scorer, Updatable
from leanrec.types import IdArray, Int32Array

__all__ = ["CurrentSnapshot", "find_known"]


class CurrentSnapshot:
    """Holds what answers requests. A change makes a new snapshot and puts it in the place of the old one. Thread-safe.

    Attributes:
        snapshot: what a request takes, and keeps to its end.
        base: the same with all items shown and without updates, as it is saved.
        rules: rules of lists.
        learns: whether the model will be updated, and so takes new items by their ids alone; see ``Pipeline.start_learning``.
    """

    def __init__(self, fitted: Snapshot, hidden: Int32Array, name: str, users: Catalog) -> None:
        """Begin with what was fitted.

        Args:
            fitted: model, fallback and items of the fit.
            hidden: (H,) rows of hidden items.
            name: name of the model, for messages.
            users: users of the fit, for rules.
        """
        self._fitted, self._name, self._users = fitted, name, users
        self.rules = ListRules()
        self._hidden: frozenset[Id] = frozenset(fitted.catalog.external_id(row) for row in hidden.tolist())
        self.base = fitted
        self.snapshot = fitted.with_hidden(hidden)
        self.learns = False
        self._updated: dict[str, Scorer] = {}
        self._n_learned_users = 0
        self._adding_items = threading.Lock()
        self._replacing = threading.Lock()

    @property
    def fitted_scorers(self) -> tuple[Scorer, Scorer | None]:
        """Model and fallback of the fit, before items were added and before updates."""
        return unpad_scorer(self._fitted.model), self._fitted.fallback

    def use_updated(self, model: Scorer | None, fallback: Scorer | None, n_users: int) -> None:
        """Replace the model or the fallback; see ``Pipeline.use_updated``."""
        updated = {name: each for name, each in (("model", model), ("fallback", fallback)) if each is not None}
        snapshot = self.snapshot
        changed = snapshot.with_updated(**updated, n_users=n_users)
        changed.warm_up()
        with self._replacing:
            self._updated |= updated
            self._n_learned_users = max(self._n_learned_users, n_users)
            if self.snapshot is not snapshot:  # items were added or hidden meanwhile
                changed = self.snapshot.with_updated(**updated, n_users=n_users)
            self.snapshot = changed

    def use_rules(self, rules: ListRules) -> None:
        """Make lists by these rules, without pins that have ended; see ``Pipeline.use_rules``."""
        rules = rules.drop_ended(time.time())
        with self._replacing:
            self.snapshot = self.snapshot.with_rules(self._build_rules(rules, self.snapshot.catalog))
            self.rules = rules

    def check_rules(self, rules: ListRules) -> None:
        """Raise SettingError for a column that the items or the users do not have."""
        self._build_rules(rules, self.snapshot.catalog)

    def _build_rules(self, rules: ListRules, catalog: Catalog) -> RuleStage | None:
        return RuleStage.build(rules, catalog, self._users) if rules else None

    def is_hidden(self, item: Id) -> bool:
        """Whether the item of an external id, as the data have it, is hidden."""
        return item in self._hidden

    def set_hidden(
        self, ids: Iterable[Id], persist: Callable[[], Iterable[Id] | None] | None, *, hidden: bool, replayed: bool
    ) -> None:
        """Hide items, or show them again; see ``Pipeline.hide_items``."""
        given = to_id_list("ids", ids)
        items = self.snapshot.catalog.items
        if not replayed:
            items.rows(given)
        with self._replacing:
            persisted = None if persist is None else persist()
            changed = frozenset(items.normalize_id(each) for each in (given if persisted is None else persisted))
            self._hidden = self._hidden | changed if hidden else self._hidden - changed
            snapshot = self.snapshot
            self.snapshot = snapshot.with_hidden(find_known(snapshot.catalog.items, self._hidden))

    def add_items(
        self, ids: IdArray | Sequence[Id], table: Table, persist: Callable[[], None] | None
    ) -> AddItemsResult:
        """Add items, and correct the content of those that were added before; see ``Pipeline.add_items``."""
        values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if not values:
            return AddItemsResult()
        with self._adding_items:
            catalog, n_fitted = self.base.catalog, len(self._fitted.catalog)
            fresh = find_new_ids(catalog.items, values)
            will_learn = self.learns and isinstance(self.base.model, Updatable)
            if len(fresh) and not (isinstance(self.base.model, Extendable) or will_learn):
                raise SettingError(
                    f"The model must be able to score new items by their content. {self._name} cannot: refit it."
                )
            content = catalog.read_content(table, len(values))
            rows = catalog.items.rows(values, missing=-1).tolist()
            known = {row: position for position, row in enumerate(rows) if row >= 0}
            changed = {
                row: position
                for row, position in known.items()
                if row >= n_fitted and content.row(position) != catalog.content(row)
            }
            extended = self._extend(values, content, fresh, changed) if len(fresh) or changed else None
            if persist is not None:
                persist()
            if extended is not None:
                with self._replacing:
                    self.base = extended
                    shown = extended.with_hidden(find_known(extended.catalog.items, self._hidden))
                    updated = shown.with_updated(**self._updated, n_users=self._n_learned_users)
                    self.snapshot = updated.with_rules(self._build_rules(self.rules, updated.catalog))
            return AddItemsResult(len(fresh), len(changed), len(known) - len(changed))

    def _extend(
        self, ids: Sequence[Id], content: Table, fresh: NDArray[np.intp], changed: Mapping[int, int]
    ) -> Snapshot:
        """The snapshot with the content of the positions ``fresh`` added and of the rows ``changed`` replaced."""
        base = self._fitted if changed else self.base
        catalog, n_base = self.base.catalog, len(base.catalog)
        items = extend_ids(catalog.items, [ids[position] for position in fresh.tolist()])
        added = content.take(fresh)
        if changed:
            assert catalog.table is not None  # noqa: S101 - the added items have content
            below = catalog.table.concat(content)
            rows = np.arange(n_base, len(catalog))
            rows[np.array(list(changed)) - n_base] = len(catalog) + np.array(list(changed.values()))
            added = below.take(np.concatenate([rows, len(catalog) + fresh]))
        model, fallback = base.model, base.fallback
        model = model.extend(added) if isinstance(model, Extendable) else pad_scorer(model, len(items))
        fallback = fallback.extend(added) if isinstance(fallback, Extendable) else fallback
        if model.n_items != len(items):
            raise DataError(f"The model must have {len(items)} items after the addition. It has {model.n_items}.")
        check_finite(model, "Check the numbers in the content of the items.")
        sources = tuple(each.extend(added) for each in base.sources)
        for source in sources:
            check_finite(source.scorer, "Check the numbers in the content of the items.")
        table = append_rows(base.catalog.table, n_base, added)
        return Snapshot(model, fallback, Catalog(items, table), base.rating_range, sources, base.item_index)


def find_known(items: Vocabulary, ids: Iterable[Id]) -> Int32Array:
    """Rows of the ids that are known."""
    rows = items.rows(list(ids), missing=-1)
    return rows[rows >= 0]
