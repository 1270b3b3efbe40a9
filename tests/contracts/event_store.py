"""What every event store does, whatever it is built on: subclass, and give the fixtures ``location`` and ``damage``."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leanrec.errors import ConflictError, DataError, SourceError
from leanrec.events.event_store import EventStore
from leanrec.events.locations import open_reader, open_store
from leanrec.events.records import DataOrigin, RetentionPolicy, ServedList, StoredRules
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.user_events import UserEvent

SHOP, OTHER = (DataOrigin(name * 20, f"{name}.csv") for name in ("shop", "other"))


def make_event(number: int = 0, **changes: object) -> UserEvent:
    plain = {
        "id": f"e{number}",
        "user": 1,
        "item": 10 + number,
        "event_type": "click",
        "time": number,
        "weight": 1.0,
    }
    return UserEvent(**plain | changes)  # type: ignore[arg-type]


class EventStoreContract:
    """The contract. ``location`` names an empty store, and ``damage(table, change)`` changes its rows behind its back."""

    def test_events_come_back_in_order_after_reopening(self, location: str | Path) -> None:
        sent = [
            make_event(1),
            make_event(0, user="guest", rating=4.5, event_type="rating", request="r", rank=2),
            make_event(2, weight=0.0, user="12", item="ä €", time=1_700_000_000.123, propensity=0.25),
            make_event(3, user=12, time=-0.5),
        ]
        with open_store(location) as log:
            log.append(sent[:3])
            log.append(sent[3:])
        with open_store(location) as log:
            assert log.user_events() == sent
            assert log.user_events(after=1, until=3) == sent[1:3]
            assert (log.last_seq, len(log)) == (4, 4)
        reader = open_reader(location)
        assert reader.user_events() == sent
        assert reader.events().time.tolist() == [1, 0, 1_700_000_000, -1]

    def test_blocks_have_the_events_and_the_checksum_of_their_last(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.append([make_event(number, rating=float(number)) for number in range(4)])
            ((events, seal),) = log.event_blocks(after=1, until=3)
            assert (events.item.tolist(), seal) == ([11, 12], log.find_seal(3))
            assert events.rating is not None
            assert events.rating.tolist() == [1.0, 2.0]
            assert log.find_seal(0) == 0
            assert len({log.find_seal(seq) for seq in (1, 2, 3, 4)}) == 4

    def test_an_id_counts_once_within_and_across_batches(self, location: str | Path) -> None:
        with open_store(location) as log:
            first = log.append([make_event(1), make_event(1, item=5), make_event(2)])
            again = log.append([make_event(2), make_event(3)])
            assert [each.id for each in first.new] == ["e1", "e2"]
            assert (first.duplicates, first.last_seq) == (1, 2)
            assert [each.id for each in again.new] == ["e3"]
            assert (again.duplicates, again.last_seq) == (1, 3)
            assert log.append([]).last_seq == 3

    def test_events_sent_by_many_threads_are_new_once(self, location: str | Path) -> None:
        new: list[str] = []

        def send(log: EventStore) -> None:
            for number in range(20):
                new.extend(each.id for each in log.append([make_event(number)]).new)

        with open_store(location) as log:
            threads = [threading.Thread(target=send, args=(log,)) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(new) == sorted(f"e{number}" for number in range(20))
            assert [each.id for each in log.user_events()] == sorted(new, key=lambda name: int(name[1:]))

    def test_an_event_gets_the_place_of_its_item_in_the_served_list(self, location: str | Path) -> None:
        served = ServedList(
            "r", 5.25, "u", (30, "x", 12), (3.0, 2e-7, 1.0), "popularity", "v", "m/v", "a", "cached", (0.5, None, 1.0)
        )
        plain = ServedList("s", 6, None, (), ())
        with open_store(location) as log:
            log.append_served(served)
            log.append_served(plain)
            log.append([make_event(number, request="r", item=item) for number, item in enumerate((12, "x", "12", 30))])
            log.append([make_event(9, request="other", item=12), make_event(8, request="r", item=12, rank=7)])
            assert [each.rank for each in log.user_events()] == [2, 1, None, 0, None, 7]
            assert [each.propensity for each in log.user_events()] == [1.0, None, None, 0.5, None, 1.0]
            assert list(log.served_lists()) == [served, plain]
            counts = log.count_by_rank()
            assert (counts.shown.tolist(), counts.clicked.tolist()) == ([1, 1, 1], [1, 1, 1])

    def test_old_lists_are_deleted(self, location: str | Path) -> None:
        with open_store(location, RetentionPolicy(max_lists=2)) as log:
            for number in range(5):
                log.append_served(ServedList(f"r{number}", number, 1, (1,), (1.0,)))
                log.append([make_event(number)])
            log.append([make_event(6, request="r4", item=1)])
            kept = [each.request for each in log.served_lists()]
            assert kept == ["r2", "r3", "r4"][-len(kept) :]
            assert len(kept) in {2, 3}
            assert log.user_events()[-1].rank == 0

    def test_a_bad_event_fails_alone(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.append([make_event(0)])
            with pytest.raises(DataError, match="64 bits"):
                log.append([make_event(1), make_event(2, user=2**70)])
            with pytest.raises(DataError, match="valid text"):
                log.append([make_event(3, user="\ud800")])
            waiting = [log.submit([make_event(5, item="\ud800")]), log.submit([make_event(6)])]
            with pytest.raises(DataError, match="valid text"):
                waiting[0].result()
            assert waiting[1].result().last_seq == 2
            for request, user in (("\ud800", 1), ("s", "\ud800"), ("t", 2**70), ("r", 1)):
                log.append_served(ServedList(request, 1, user, (1,), (1.0,)))
            log.append([make_event(4)])
            assert log.events().item.tolist() == [10, 16, 14]
            assert log.n_lost == 3
            assert [each.request for each in log.served_lists()] == ["r"]

    def test_the_last_content_of_an_added_item_is_kept(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.add_items({7: {"title": "seven"}, "7": {"title": "text", "price": 1e-7}})
            log.add_items({"x": {}, 7: {"title": "changed"}})
            assert log.item_contents() == [
                (7, {"title": "changed"}),
                ("7", {"title": "text", "price": 1e-7}),
                ("x", {}),
            ]
            ids, table = log.items()
            assert ids.tolist() == ["7", "7", "x"]
            assert table.row(0) == {"title": "changed"}

    def test_the_last_change_of_a_hidden_item_counts(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.set_hidden([1, "a", 2], hidden=True)
            log.set_hidden(["a"], hidden=False)
        reader = open_reader(location)
        assert (reader.hidden_items(), reader.shown_items()) == ((1, 2), ("a",))

    def test_rules_of_lists_are_replaced_by_who_has_read_the_last(self, location: str | Path) -> None:
        with open_store(location) as log:
            assert log.list_rules() == (0, "")
            assert log.replace_list_rules("one ä", 0) == (1, "one ä")
            assert log.replace_list_rules("two", 1) == (2, "two")
            assert log.replace_list_rules("two", 1) == (2, "two")  # sent again
            for late in (("other", 1), ("one ä", 0), ("two", 3)):
                with pytest.raises(ConflictError, match="revision must be 2"):
                    log.replace_list_rules(*late)
            assert not log.is_empty
        assert open_reader(location).list_rules() == (2, "two")

    def test_of_many_who_replace_the_same_rules_one_does(self, location: str | Path) -> None:
        done: list[StoredRules] = []

        def replace(log: EventStore, number: int) -> None:
            with contextlib.suppress(ConflictError):
                done.append(log.replace_list_rules(f"rules {number}", 0))

        with open_store(location) as log:
            threads = [threading.Thread(target=replace, args=(log, number)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert done == [log.list_rules()]

    def test_an_item_is_hidden_while_one_reason_holds(self, location: str | Path) -> None:
        with open_store(location) as log:
            assert log.set_hidden([1, "a", 2], hidden=True) == (1, "a", 2)
            assert log.set_hidden([2, 3], hidden=True, by_stock=True) == (2, 3)
            assert log.set_hidden([1, 2, 3], hidden=False, by_stock=True) == (3,)
            assert log.set_hidden(["a"], hidden=True, by_stock=True) == ("a",)
            assert log.set_hidden([1, "a", 2, 9], hidden=False) == (1, 2, 9)
        with open_store(location) as log:
            assert (log.hidden_items(), set(log.shown_items())) == (("a",), {1, 2, 3, 9})
            assert log.set_hidden(["a"], hidden=False, by_stock=True) == ("a",)

    def test_a_bound_store_refuses_other_data(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.bind(SHOP)
            log.bind(OTHER)  # the store is empty
            assert log.origins() == (OTHER,)
            log.append([make_event(1)])
            with pytest.raises(DataError, match=r"data of this model \(shop.csv;.* other data \(other.csv;"):
                log.bind(SHOP)
            log.check_origin(DataOrigin(SHOP.fingerprint, SHOP.description, log.id))  # the store was merged into it
            log.bind(SHOP, rebind=True)
            assert log.origins() == (OTHER, SHOP)
            assert open_reader(location).id == log.id

    def test_a_forgotten_user_leaves_a_number_and_a_hash(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.append([make_event(number, user=("ada", 12, "12")[number % 3]) for number in range(6)])
            log.append_served(ServedList("r", 1, "12", (1,), (1.0,)))
            log.append_served(ServedList("s", 1, "ada", (1,), (1.0,)))
            first = log.forget_user("12")
            assert (first.number, first.n_events, first.last_seq) == (1, 4, 6)
            log.append_served(ServedList("late", 1, 12, (1,), (1.0,)))  # made before, and logged after
            assert log.append([make_event(6, user=12)]).last_seq == 7
            assert [each.user for each in log.user_events()] == ["ada", "ada", 12]
            assert [each.request for each in log.served_lists()] == ["s"]
            second = log.forget_user(12)
            assert (second.number, second.n_events, second.last_seq) == (2, 1, 7)
            assert [each.n_events for each in log.forgotten_users()] == [5]
            assert log.forgotten_users(after=2) == ()
            assert (log.last_seq, len(log)) == (7, 2)
            assert sum(len(block) for block, _ in log.event_blocks(until=7)) == 2
            assert log.verify().events == 2

    def test_users_of_some_items_have_all_their_events(self, location: str | Path) -> None:
        with open_store(location) as log:
            log.append([make_event(number, user=number % 3, item=number) for number in range(7)])
            assert [each.id for each in log.user_events_of([1, "5"], until=6)] == ["e1", "e2", "e4", "e5"]

    @pytest.mark.parametrize(
        ("table", "change"),
        [
            ("event", "weight = 2"),
            ("event", "propensity = 0.5"),
            ("served", "rung = 'popular'"),
            ("item", "content = '{}'"),
            ("hidden", "hidden = 0"),
            ("list_rules", "rules = '{}'"),
            ("origin", "description = 'x'"),
            ("forgotten", "n_events = 0"),
        ],
    )
    def test_a_changed_row_is_damage(
        self, location: str | Path, damage: Callable[[str, str], None], table: str, change: str
    ) -> None:
        fill_store(location)
        assert open_reader(location).verify().events == 3
        damage(table, change)
        with pytest.raises(SourceError, match="is damaged"):
            open_reader(location).verify()

    def test_a_backup_is_a_log_with_the_same_rows(self, location: str | Path, tmp_path: Path) -> None:
        fill_store(location)
        log, path = open_reader(location), tmp_path / "backup.db"
        summary = log.back_up(path)
        assert summary == log.verify()
        copy = SQLiteEventReader(path)
        for name in ("user_events", "item_contents", "hidden_items", "list_rules", "origins", "forgotten_users"):
            assert getattr(copy, name)() == getattr(log, name)()
        assert list(copy.served_lists()) == list(log.served_lists())
        assert (copy.id, copy.last_seq) == (log.id, log.last_seq)
        assert [seal for _, seal in copy.event_blocks(until=5)] == [seal for _, seal in log.event_blocks(until=5)]
        np.testing.assert_array_equal(copy.count_by_rank().shown, log.count_by_rank().shown)
        with pytest.raises(SourceError, match="must be a new file"):
            log.back_up(path)
        assert [each.name for each in tmp_path.iterdir() if "backup" in each.name] == ["backup.db"]

    def test_a_closed_store_refuses_writes(self, location: str | Path) -> None:
        log = open_store(location)
        log.append([make_event(1)])
        log.close()
        log.close()
        with pytest.raises(SourceError, match="is closed"):
            log.append([make_event(2)])
        with pytest.raises(SourceError, match="is closed"):
            log.append_served(ServedList("r", 1, 1, (1,), (1.0,)))
        assert len(open_reader(location)) == 1


def fill_store(location: str | Path) -> None:
    """A store with rows in every table: three events of five are left."""
    with open_store(location) as log:
        log.bind(SHOP)
        log.append_served(ServedList("r", 5, "u", (10, "x"), (3.0, 2e-7), propensities=(0.5, None)))
        log.append([make_event(number, user=number % 2, request="r") for number in range(5)])
        log.add_items({"new": {"title": "ä", "price": 1.5}})
        log.set_hidden([10], hidden=True)
        log.replace_list_rules('{"pins": ["ä"]}', 0)
        log.forget_user(1)
