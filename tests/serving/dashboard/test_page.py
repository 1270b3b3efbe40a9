"""The parts of the page for operators, in a real browser."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import expect

from conftest import make_dataset
from contracts.browser import open_browser
from contracts.server import run_server
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionFollower, VersionStore
from leanrec.online.trials.guards import TrialGuards
from leanrec.online.trials.trial_follower import TrialFollower
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.security.api_keys import ApiKeys, add_key
from leanrec.serving.serving_settings import ServingSettings

PARTS = ("lists", "traffic", "versions", "experiment")
_N_USERS = 108

# Texts with less contrast than WCAG 2 asks for (AA): 4.5, or 3 for large ones. Disabled controls may have less.
FIND_FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (color) => color.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest(".hidden, .skip, :disabled, option")) continue;
    const style = getComputedStyle(element);
    const [one, two] = [light(parse(element.closest("svg") ? style.fill : style.color)), light(ground(element))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5;
    if ((one + 0.05) / (two + 0.05) < needed) faint.push(`${text.slice(0, 40)}: ${((one + 0.05) / (two + 0.05)).toFixed(2)}`);
  }
  return faint;
}"""
# Elements whose text is cut, but for the name of the model, and what is wider than the page.
FIND_CUT = """() => [...document.querySelectorAll("body *")]
  .filter((each) => each.checkVisibility() && !each.closest(".table-box, .hidden, .skip, #model, svg, option, datalist"))
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== "visible" && each.clientWidth > 1
    || each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 100))"""


HEALTH = {"model": "ease", "settings": None, "users": 3, "items": 4, "columns": [], "event_types": ["click"]}
NO_RULES = {"pins": [], "limits": [], "revision": 0, "policy": None, "fixed": False, "problem": None}
STATE = {
    "rung": "full",
    "workers": 1,
    "users": 3,
    "items": 4,
    "model": "ease",
    "version": "v",
    "log": {"events": 5, "bytes": 4096, "waiting_seconds": 0.0, "problem": None},
}


def make_sample(time: float, answered: int, failed: int = 0, lost: int = 0) -> dict[str, Any]:
    """Sums at a time: half of the answered requests took up to 1 ms, the others up to 10 ms."""
    latency = {"bounds": [0.001, 0.01], "counts": [answered / 2, answered / 2, 0]}
    return {
        "time": time,
        "requests": {"answered": answered, "invalid": 0, "refused": 0, "failed": failed},
        "lists": {"full": answered},
        "events": {},
        **dict.fromkeys(("latency", "list_latency", "freshness"), latency),
        **dict.fromkeys(("connections_refused", "fallbacks", "quality_loss", "log_free_bytes", "log_wal_bytes"), 0),
        **dict.fromkeys(("feedback", "top_score_sum", "top_score_count"), 0),
        "lists_lost": lost,
    }


# Lists, feedback, lists of the fallback, sum and number of top scores, stored and rejected events: at 0, 100 and 700 seconds.
DRIFT_SAMPLES = [
    make_sample(time, lists)
    | {"feedback": feedback, "fallbacks": fallbacks, "top_score_sum": scores, "top_score_count": n}
    | {"events": {"stored": stored, "rejected": rejected}}
    for time, lists, feedback, fallbacks, scores, n, stored, rejected in (
        (100.0, 0, 0, 0, 0.0, 0, 0, 0),
        (200.0, 1_000, 60, 20, 20.0, 10, 100, 1),
        (798.0, 3_000, 100, 80, 30.0, 20, 300, 11),
    )
]


class Served(NamedTuple):
    """A server with keys over a store of versions."""

    client: httpx.Client
    store: VersionStore
    key: str
    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The second of three versions is current, and the third is tried by half of the users, all of whom got lists."""
    folder = tmp_path_factory.mktemp("served")
    store, key = VersionStore.create(folder / "models"), add_key(folder / "keys.toml", "boss", "admin")
    versions = []
    for name in ("popularity", "item_knn", "ease"):
        Pipeline.fit(get_model(name)(), make_dataset()).save(folder / name)
        versions.append(store.add(folder / name).id)
    for version in versions[:2]:
        store.promote(version)
    store.start_trial(versions[2], 0.5)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(SQLiteEventStore(folder / "events.db"))
        live = LivePipeline(Pipeline.load(folder / "item_knn"), log)
        live.store, live.guards = store, TrialGuards(max_slowdown=100.0)  # the machine may be busy
        stack.enter_context(VersionFollower(live, store, lambda _: None, 0.02))
        stack.enter_context(TrialFollower(live, store, lambda _: None, interval=0.02))
        settings = ServingSettings(keys=ApiKeys.read(folder / "keys.toml"), explore=0.2)
        client = stack.enter_context(run_server(create_app(live, log, settings)))
        client.headers["Authorization"] = f"Bearer {key}"
        while client.get("/versions").json()["trial"] is None:
            pass
        # Arms are by the hash of the user, with a salt of this run: so many that both have the 25 users of an interval.
        users = [*[f"user-{number}" for number in range(60)], *[f"guest-{number}" for number in range(_N_USERS - 60)]]
        client.post("/events", json={"events": [{"user": user, "item": 101} for user in users]})
        events = []
        for number, user in enumerate(users):
            answer = client.get(f"/recommend?user={user}").json()
            events.append({"user": user, "item": answer["items"][0]["id"], "request": answer["request"]})
            if number % 9 == 8:
                client.post("/events", json={"events": events[:6]})
                events.clear()
        log.flush()
        yield Served(client, store, key, str(client.base_url))


@pytest.fixture
def open_part(browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Opens a part of the page, and gives the key."""
    with contextlib.ExitStack() as stack:

        def open_it(part: str, user: str = "user-3", **options: Any) -> Any:
            page = stack.enter_context(contextlib.closing(browser.new_page(reduced_motion="reduce", **options)))
            page.on("pageerror", lambda error: pytest.fail(str(error)))
            page.goto(f"{served.url}/?part={part}#{user}")
            page.fill("#key", served.key)
            page.click("#key-form button")
            page.wait_for_selector(
                {"lists": "#list > li", "traffic": ".line", "versions": "#versions-history li"}.get(part, ".band"),
                state="attached",
            )
            return page

        yield open_it


class TestParts:
    def test_the_keys_move_between_the_parts(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("lists")
        page.focus("#tab-lists")
        for part in ("traffic", "versions", "experiment", "lists"):
            page.keyboard.press("ArrowRight")
            expect(page.locator(f"#tab-{part}")).to_be_focused()
            assert page.locator("[role=tabpanel]:visible").evaluate_all("parts => parts.map((each) => each.id)") == [
                f"part-{part}"
            ]
            assert page.locator("[role=tab][aria-selected=true]").count() == 1
        assert page.url == f"{served.url}/#user-3"
        page.keyboard.press("End")
        assert page.url == f"{served.url}/?part=experiment#user-3"
        page.focus("#skip")
        page.keyboard.press("Enter")
        expect(page.locator("#part-experiment")).to_be_focused()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_texts_can_be_read_and_nothing_is_cut(self, open_part: Callable[..., Any], scheme: str) -> None:
        page = open_part("lists", color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page.click("#provenance summary")
        for part, shown in zip(PARTS, ("#list > li", ".line", "#versions-history li", ".band"), strict=True):
            page.click(f"#tab-{part}")
            page.locator(f"#part-{part} {shown}").first.wait_for(state="attached")
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(FIND_CUT) == [], (part, width)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (part, width)
            assert page.evaluate(FIND_FAINT) == [], part


class TestLists:
    def test_why_a_list_is_as_it_is_and_what_it_cost(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("lists")
        page.click("#provenance summary")
        answer = served.client.get("/recommend?user=user-3").json()
        text = page.inner_text("#provenance-body")
        for name in ("policy", "version", "arm", "rung"):
            assert answer[name] in text
        assert answer["arm"] in {"control", "candidate"}
        assert f"number {answer['as_of']}" in text
        stages = page.locator("#provenance-body .legend li").all_inner_texts()
        assert [each.split(" ")[0].split("\n")[0] for each in stages][:2] == ["rules", "retrieve"]
        assert page.locator("#provenance-body .share").count() == len(stages)
        assert page.locator("#list .reasons", has_text="propensity").count() == 10

    def test_another_event_is_sent(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("lists", user="user-9")
        assert "rating" not in page.locator("#event-type option").all_inner_texts()
        page.select_option("#event-type", "purchase")
        title = page.locator("#list .name").first.evaluate("name => name.firstChild.textContent")
        page.get_by_role("button", name=f"Purchase {title}", exact=True).click()
        expect(page.locator("#history li").first).to_contain_text("purchase")
        newest = served.client.get("/users/user-9").json()["events"][0]
        assert (newest["title"], newest["event_type"]) == (title, "purchase")

    def test_an_item_is_hidden_and_shown_again(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("lists", user="user-8")
        first = page.locator("#list > li").first
        item = int(first.get_attribute("data-id"))
        title = first.locator(".name").evaluate("name => name.firstChild.textContent")
        page.get_by_role("button", name=f"Hide {title} from all lists").click()
        expect(page.locator("#hidden-item")).to_contain_text(f"{title} is hidden from all lists.")
        expect(page.locator(f'#list > li[data-id="{item}"]')).to_have_count(0)
        expect(page.get_by_role("button", name=f"Show {title} again")).to_be_focused()
        assert item not in [each["id"] for each in served.client.get("/recommend?user=user-8&n=40").json()["items"]]
        page.keyboard.press("Enter")
        expect(page.locator("#hidden-item")).to_contain_text("may show")
        assert item in [each["id"] for each in served.client.get("/recommend?user=user-8&n=40").json()["items"]]


class TestTraffic:
    def test_numbers_and_charts_of_the_last_minutes(self, open_part: Callable[..., Any], served: Served) -> None:
        for number in range(30):
            served.client.get(f"/recommend?user=user-{number}")
        served.client.get("/recommend?user=nobody")
        page = open_part("traffic")
        expect(page.locator(".chart .line").first).to_be_attached()
        requests = page.locator(".figure-tile", has_text="Requests").locator(".figure-value")
        assert float(requests.inner_text().split()[0]) > 0
        assert "ms" in page.locator(".figure-tile", has_text="Lists, p50 / p99").inner_text()
        assert re.search(r"\b[1-9]\d* invalid \(4xx\)", page.inner_text("#traffic-outcomes"))
        assert "100 %" in page.inner_text("#traffic-load")
        expect(page.locator("#drift-verdict")).to_contain_text("No verdict on the responses yet", timeout=60_000)
        chart = page.locator(".chart svg[role=img]").first
        label = chart.get_attribute("aria-label")
        assert label.startswith("Requests and events per second. now: requests ")
        chart.focus()
        page.keyboard.press("Home")
        expect(page.locator(".chart [role=status]").first).to_contain_text("requests")
        assert page.locator(".chart .cursor").count() == 1

    def test_the_numbers_are_right(self, browser: Any, served: Served) -> None:
        states = [
            ([make_sample(100.0, 0), make_sample(105.0, 60), make_sample(110.0, 100, failed=3, lost=2)], 0.5),
            ([make_sample(112.0, 7)], 1.0),  # the server was started again
            ([make_sample(114.0, 27)], 1.0),
        ]
        with contextlib.closing(browser.new_page()) as page:
            page.route("**/health", lambda route: route.fulfill(json=HEALTH))
            asked: list[str] = []

            def answer(route: Any) -> None:
                asked.append(route.request.url)
                samples, loss = states[min(len(asked), len(states)) - 1]
                samples = [each | {"quality_loss": loss} for each in samples]
                route.fulfill(json=STATE | {"samples": samples if len(asked) <= len(states) else []})

            page.route("**/dashboard/drift", lambda route: route.fulfill(json={"problem": "none"}))
            page.route(re.compile(r"/dashboard/traffic\?"), answer)
            page.clock.install()
            page.goto(f"{served.url}/?part=traffic")

            def read(name: str) -> str:
                value: str = page.locator(f'.figure-tile:has(h3:text-is("{name}")) .figure-value').inner_text()
                return value

            page.wait_for_selector(".line", state="attached")
            assert read("Requests") == "10.3 /s"  # 103 requests in ten seconds
            assert read("Lists, p50 / p99") == "1 ms / 9.82 ms"  # half of the lists in each bucket
            assert (read("Failed"), read("Refused"), read("Events")) == ("3", "0", "0 /s")
            assert page.locator(".figure-tile.bad").all_inner_texts()[0].startswith("Failed")
            assert "Work per list\n50 %" in page.inner_text("#traffic-load")
            assert "Lists not logged\n2" in page.inner_text("#traffic-load")
            page.clock.run_for(2000)
            expect(page.locator(".figure-tile", has_text="Requests").locator(".figure-value")).to_have_text("–")
            page.clock.run_for(2000)
            expect(page.locator(".figure-tile", has_text="Requests").locator(".figure-value")).to_have_text("10 /s")
            assert [url.partition("after=")[2] for url in asked[:3]] == ["0", "110", "112"]


class TestDrift:
    def open_traffic(self, browser: Any, served: Served, report: dict[str, Any], samples: list[dict[str, Any]]) -> Any:
        page = browser.new_page()
        page.route("**/health", lambda route: route.fulfill(json=HEALTH))
        page.route(re.compile(r"/dashboard/traffic\?"), lambda route: route.fulfill(json=STATE | {"samples": samples}))
        status = 503 if "error" in report else 200
        page.route("**/dashboard/drift", lambda route: route.fulfill(json=report, status=status))
        page.clock.install()  # it refreshes once
        page.goto(f"{served.url}/?part=traffic")
        return page

    def test_the_last_ten_minutes_beside_all_before(self, browser: Any, served: Served) -> None:
        with contextlib.closing(self.open_traffic(browser, served, {"problem": "none"}, DRIFT_SAMPLES[1:])) as page:
            expect(page.locator("#drift-span")).to_have_text(
                "Large: the last 10 min. Small: since the start of the server."
            )
            tiles = page.locator("#drift-tiles .figure-tile").all_inner_texts()
            assert [re.split(r"\n+", each) for each in tiles] == [
                ["Responses to 100 lists", "2", "3.33 since the start"],  # 40 to 2,000
                ["Mean top score", "1", "1.5 since the start"],
                ["Lists of known users", "97 %", "97.3 % since the start"],
                ["Events on known items", "95 %", "96.3 % since the start"],
            ]

    def test_without_lists_and_events_there_are_no_numbers(self, browser: Any, served: Served) -> None:
        with contextlib.closing(self.open_traffic(browser, served, {"problem": "none"}, DRIFT_SAMPLES[:1])) as page:
            expect(page.locator("#drift-span")).to_contain_text("the last minutes")
            assert page.locator("#drift-tiles .figure-value").all_inner_texts() == ["–"] * 4

    def test_the_verdict_is_in_words(self, browser: Any, served: Served) -> None:
        report: dict[str, Any] = {"version": "v", "lists": 9_000, "waiting": 7, "needed": 2_000, "made": 1.0}
        with contextlib.closing(self.open_traffic(browser, served, report, DRIFT_SAMPLES)) as page:
            for first, last, fall, expected in (
                (0.05, 0.03, 4_899, "Responses have fallen: people respond to fewer of the lists of the version v"),
                (0.05, 0.03, 4_899, "noticed at list 4,900 of 9,000. 5 % of the first 2,000 got a response, 3 % of"),
                (0.05, 0.049, None, "No lasting fall of the responses to the 9,000 lists of the version v. 5 % of"),
                (None, None, None, "No verdict on the responses yet: more than 2,000 lists"),
                (0.0, 0.0, None, "Clients must send the request of a list with its events."),
                (1.0, 0.2, None, "all of the first 2,000 lists of the version v got one"),
            ):
                report |= {"first_rate": first, "last_rate": last, "fall": fall}
                page.reload()
                expect(page.locator("#drift-verdict")).to_contain_text(expected)
                assert page.locator("#drift-verdict.bad").count() == (fall is not None)

    def test_a_report_that_fails_leaves_the_rest(self, browser: Any, served: Served) -> None:
        report = {"error": {"message": "The report must be made by another process."}}
        with contextlib.closing(self.open_traffic(browser, served, report, DRIFT_SAMPLES)) as page:
            expect(page.locator("#drift-verdict")).to_have_text("The report must be made by another process.")
            expect(page.locator("#error")).to_be_hidden()
            expect(page.locator("#drift-tiles .figure-tile")).to_have_count(4)


class TestExperiment:
    def test_arms_verdict_and_the_interval_over_time(self, open_part: Callable[..., Any]) -> None:
        page = open_part("experiment")
        text = page.inner_text("#experiment")
        assert "No difference between candidate and control so far." in text
        assert "Sample ratio: p = " in text
        assert "95 %, at every look" in text
        assert page.locator("#experiment thead").inner_text().split() == ["control", "candidate"]
        users = page.locator("#experiment tbody tr", has_text="users").inner_text().split()
        assert sum(map(int, users[1:])) == _N_USERS
        page.locator("#experiment svg[role=img]").focus()
        page.keyboard.press("End")
        expect(page.locator("#experiment .chart [role=status]")).to_contain_text(f"{_N_USERS} users: difference ")

    def test_another_version_is_estimated_when_it_is_asked_for(self, open_part: Callable[..., Any]) -> None:
        page = open_part("experiment")
        assert page.locator("#off-policy-version option").count() == 2
        page.click("#off-policy-estimate")
        expect(page.locator("#off-policy h3")).to_contain_text("Version ", timeout=60_000)
        problem = {"version": "v", "problem": "No support: the target does nothing of what was logged."}
        page.route("**/dashboard/off-policy*", lambda route: route.fulfill(json=problem))
        page.click("#off-policy-estimate")
        expect(page.locator("#off-policy .verdict")).to_contain_text("No support")
        estimates = [
            {"method": method, "value": 0.1, "low": low, "high": 0.12, "logged": 0.09, "n": 4000, "effective_n": 321.4}
            for method, low in (("snips", 0.08), ("ips", None), ("dr", 0.085))
        ]
        answer = {"version": "v", "lists": 1000, "skipped": {"nothing was drawn": 7}, "estimates": estimates}
        page.route("**/dashboard/off-policy*", lambda route: route.fulfill(json=answer))
        page.click("#off-policy-estimate")
        rows = page.locator("#off-policy tbody tr")
        expect(rows).to_have_count(3)
        assert rows.nth(2).inner_text().split("\t") == ["doubly robust", "0.1", "0.085", "0.12", "0.09", "4,000", "321"]
        assert rows.nth(1).inner_text().split("\t")[2] == "–"
        expect(page.locator("#off-policy")).to_contain_text("7 lists were left out, because nothing was drawn.")


class TestVersions:
    def test_a_change_is_confirmed_first(self, open_part: Callable[..., Any], served: Served) -> None:
        page, before = open_part("versions"), served.store.fence
        current = served.store.current().id  # type: ignore[union-attr]
        assert "No guard has stopped it" in page.inner_text("#versions-trial")
        page.get_by_role("button", name="Stop the trial").click()
        expect(page.locator("#confirm-no")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#confirm-dialog")).to_be_hidden()
        page.get_by_role("button", name="Roll back").click()
        page.keyboard.press("Escape")
        assert served.store.fence == before
        page.get_by_role("button", name="Stop the trial").click()
        page.click("#confirm-yes")
        expect(page.locator("#versions-status")).to_contain_text("Done: Stop the trial")
        assert served.store.trials()[-1].outcome == "stopped"
        page.get_by_role("button", name="Roll back").click()
        assert served.store.promotions()[0].version in page.inner_text("#confirm-text")
        page.click("#confirm-yes")
        expect(page.locator("#versions-list .badge")).to_have_text("current")
        expect(page.locator("#versions-served")).to_contain_text(served.store.promotions()[0].version)
        page.locator("#versions-list tr", has_text=current).get_by_role("button", name="Promote").click()
        page.click("#confirm-yes")
        expect(page.locator("#versions-history li").first).to_contain_text(f"Promoted {current}")
        assert served.store.current().id == current  # type: ignore[union-attr]

    def test_the_rules_of_lists_are_shown(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("versions")
        expect(page.locator("#list-rules")).to_contain_text("None: all places are those of the model and its sources.")
        pins = [
            {"item": 103, "position": 2, "until": "2099-01-01", "users": None},
            {"item": 101, "position": 1, "until": None},
        ]
        body = {"pins": pins, "limits": [{"column": "genres", "n": 2}], "revision": 0}
        made = served.client.put("/list-rules", json=body).raise_for_status().json()
        expect(page.locator("#list-rules .policy")).to_have_text(made["policy"], timeout=30_000)
        rows = [line.split("\t") for line in page.locator("#list-rules tbody tr").all_inner_texts()]
        assert rows[0] == ["1", "101", "all", "no end"]
        assert rows[1][:3] == ["2", "103", "all"]
        assert rows[2] == ["genres", "at most 2"]
        empty = {"pins": [], "limits": [], "revision": made["revision"]}
        served.client.put("/list-rules", json=empty).raise_for_status()
        problem = made | {"problem": "Revision 1 of the rules of lists cannot be used: no column."}
        page.route("**/dashboard/list-rules", lambda route: route.fulfill(json=problem))
        expect(page.locator("#list-rules .verdict.bad")).to_contain_text("cannot be used: no column.", timeout=30_000)

    def test_a_change_beside_another_one_is_refused(self, open_part: Callable[..., Any], served: Served) -> None:
        page = open_part("versions")
        page.route(
            "**/dashboard/versions",
            lambda route: route.continue_() if route.request.method == "POST" else route.abort(),
        )
        served.store.promote(served.store.current().id)  # type: ignore[union-attr]
        fence = served.store.fence
        page.get_by_role("button", name="Promote").first.click()
        page.click("#confirm-yes")
        expect(page.locator("#error")).to_contain_text("there was another promotion or trial meanwhile")
        assert served.store.fence == fence


def test_a_shadow_and_what_a_guard_has_ended(browser: Any, served: Served) -> None:
    """They are made up: a shadow takes long until it has compared lists."""
    started = {"fence": 5, "version": "b", "share": 0.2, "is_shadow": True, "started": "2026-11-30T12:00:00+00:00"}
    ended = started | {"fence": 4, "is_shadow": False, "ended": "2026-11-30T11:00:00+00:00", "outcome": "aborted"}
    shadow = {"compared": 40, "failed": 1, "dropped": 0, "overlap": 0.75, "current_ms": 1.0, "candidate_ms": 2.5}
    state = {
        "model": "ease",
        "version": "a",
        "trial": started | {"model": "slim", "verdict": None, "shadow": shadow, "processes": 2},
        "has_store": True,
        "may_change": False,
        "store": "models",
        "fence": 5,
        "versions": [],
        "promotions": [{"fence": 1, "version": "a", "time": "2026-11-30T10:00:00+00:00", "reason": "promote"}],
        "trials": [
            ended | {"reason": "12 of 40 lists could not be made", "ended_by": "the guard of the failures"},
            started | {"ended": None, "outcome": None},
        ],
    }
    with contextlib.closing(browser.new_page()) as page:
        page.route("**/health", lambda route: route.fulfill(json=HEALTH))
        page.route("**/dashboard/versions", lambda route: route.fulfill(json=state))
        page.route("**/dashboard/list-rules", lambda route: route.fulfill(json=NO_RULES))
        page.goto(f"{served.url}/?part=versions")
        expect(page.locator("#versions-trial")).to_contain_text("shadow: 20 % of the lists are made by it too")
        for text in ("No guard has stopped it.", "75 %", "2.5 ms; current version 1 ms", "As one of 2 workers"):
            expect(page.locator("#versions-trial")).to_contain_text(text)
        changes = page.locator("#versions-history li").all_inner_texts()
        assert "Started the shadow of b, share 20 %" in changes[0]
        assert "aborted by the guard of the failures: 12 of 40 lists could not be made" in changes[1]
        expect(page.locator("#versions-served")).to_contain_text("leanrec versions promote models VERSION")
        assert page.locator("#part-versions button").count() == 0


def test_a_server_without_keys_names_the_commands(browser: Any, tmp_path: Path) -> None:
    with (
        SQLiteEventStore(tmp_path / "events.db") as log,
        run_server(create_app(Pipeline.fit(get_model("popularity")(), make_dataset()), log)) as client,
    ):
        page = browser.new_page()
        page.goto(f"{client.base_url}/?part=versions")
        expect(page.locator("#versions-served")).to_contain_text("leanrec versions add models model --promote")
        assert page.locator("#part-versions button").count() == 0
        page.click("#tab-experiment")
        expect(page.locator("#experiment")).to_contain_text("None of its lists has an arm.", timeout=60_000)
        expect(page.locator("#off-policy")).to_contain_text("With a store of versions another one can be estimated.")
        expect(page.locator("#off-policy-form")).to_be_hidden()
        page.close()
