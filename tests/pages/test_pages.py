"""The pages, drawn without Airflow: the figures of the view, escaped text, a friendly page where there is nothing yet."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from pipelines.errors import PermanentError
from pipelines.monitoring import Crossing
from pipelines.pages import charts, model_card, rendering, reports
from pipelines.pages.reports import cards, known_reports, read_report, reports_of, reports_page
from pipelines.pages.site import Unreadable, overview, problem, use_case_page
from pipelines.pages.view import ChampionView, Lifecycle, Quality
from pipelines.workspace import Decision, Kind, Workspace, open_workspace

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\""
QUALITY = (
    Quality("2013-04", 1, 24512, 0.71234, 0.47011, 0.0244, 105432.1, "flights/drift/2013-04-v1.html"),
    Quality("2013-05", 2, 24001, 0.69876, 0.48125, 0.0488, -1200.0, None),
    Quality("2013-06", 2, None, None, None, 0.0732, None, None),
)
DECISIONS = (
    Decision("b", "flights", "promoted", "2013-05", "it is better", "ada", "r", {"gain": 1}, 2, "2013-05", 532.0, "USD"),
    Decision("a", "flights", "not retrained", "2013-04", "nothing asks for it", "retraining policy", "r"),
)
VIEW = Lifecycle(
    use_case="flights",
    title="Late flights",
    owner="operations",
    purpose="Know before departure.",
    unit="USD",
    champion=ChampionView(2, "2013-05", "12 days", "it is better"),
    last_partitions={
        "ingestion": "2013-06",
        "features": "2013-06",
        "labels": "2013-05",
        "scoring": "2013-06",
        "monitoring": None,
    },
    quality=QUALITY,
    decisions=DECISIONS,
)
EMPTY = replace(VIEW, champion=None, last_partitions=dict.fromkeys(VIEW.last_partitions), quality=(), decisions=())


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def cells(page: str, figure: str) -> list[str | None]:
    return [a.get("data-value") for tag, a in Elements(page).tags if tag == "td" and a.get("data-figure") == figure]


def draw(view: Lifecycle = VIEW) -> str:
    return use_case_page(view, "http://127.0.0.1:5000/#/models/flights")


@pytest.mark.parametrize(
    ("figure", "field"),
    [("partition", "partition"), ("version", "model_version"), ("labels", "labels"), ("auc", "auc"),
     ("log-loss", "log_loss"), ("drifted-share", "drifted_share"), ("worth", "worth")],
)  # fmt: skip
def test_the_table_has_the_figures_of_the_view_newest_first(figure: str, field: str) -> None:
    wanted = [getattr(q, field) for q in reversed(QUALITY)]
    assert cells(draw(), figure) == [None if v is None else str(v) for v in wanted]


def test_figures_are_shown_as_the_command_line_shows_them() -> None:
    text = Elements(draw()).text
    assert all(shown in text for shown in ("0.7123", "0.4701", "0.0244", "24,512", "105,432 USD", "-1,200 USD"))
    assert all(shown in text for shown in ("12 days", "serves from 2013-05 on", "operations", "Know before departure."))


def test_each_stage_shows_its_last_partition_in_the_order_of_the_work() -> None:
    stages = [(a["data-stage"], a["data-partition"]) for _, a in Elements(draw()).tags if "data-stage" in a]
    wanted = [
        ("ingestion", "2013-06"),
        ("features", "2013-06"),
        ("scoring", "2013-06"),
        ("labels", "2013-05"),
        ("monitoring", ""),
    ]
    assert stages == wanted


def test_every_kind_of_decision_is_shown_with_who_and_when() -> None:
    made = tuple(replace(DECISIONS[0], id=kind, kind=kind, at="2026-01-02T03:04:05.000006+00:00") for kind in Kind)
    page = Elements(draw(replace(VIEW, decisions=made)))
    assert [a["data-kind"] for _, a in page.tags if "data-kind" in a] == [str(kind) for kind in Kind]
    assert page.text.count("by ada, 2026-01-02 03:04 UTC") == len(Kind)


def test_the_chart_marks_where_another_version_took_over() -> None:
    assert charts.changes(QUALITY) == [1], "a mark of the first would hide the title"
    assert re.findall(r">(v\d+)</text>", charts.quality(QUALITY)) == ["v2"]


@pytest.mark.parametrize("count", [1, 2, 40, 400])
def test_the_chart_draws_any_number_of_partitions(count: int) -> None:
    drawn = charts.quality([replace(QUALITY[0], partition=f"p{i}") for i in range(count)])
    assert drawn.count('class="bar"') == count
    assert 1 <= len(re.findall(r">p\d+</text>", drawn)) <= 14
    assert "nan" not in drawn


def test_the_forecast_of_the_loss_is_shown_in_its_words() -> None:
    day = date(2013, 7, 1)
    known = Crossing(0.48, 0.8, None, day, date(2013, 9, 29), date(2013, 8, 5), date(2013, 8, 12), None, 9, 7)
    for forecast in (known, Crossing(0.48, 0.8, "not enough history: 2 windows of at least 8")):
        page = Elements(draw(replace(VIEW, forecast=forecast)))
        assert forecast.words in page.text
        (shown,) = (a["data-forecast"] for _, a in page.tags if "data-forecast" in a)
        assert shown == ("2013-08-05" if forecast is known else "")
    assert "crosses 0.48 not before 2013-08-05, and maybe not by 2013-09-29 (80%); back-tested: 7 of 9." in known.words
    assert "Forecast" not in Elements(draw()).text


def test_a_partition_without_outcomes_breaks_the_line() -> None:
    gap = (QUALITY[0], QUALITY[2], QUALITY[1])
    auc, loss = re.findall(r'class="line">\s*<path d="([^"]+)"', charts.quality(gap))
    whole, _ = re.findall(r'class="line">\s*<path d="([^"]+)"', charts.quality(QUALITY[:2]))
    assert (auc.count("M"), loss.count("M"), whole.count("M")) == (2, 2, 1)


def test_hostile_text_is_escaped_wherever_it_comes_from() -> None:
    champion = ChampionView(1, HOSTILE, HOSTILE, HOSTILE)
    made = Decision(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, 1, HOSTILE, 1.0, HOSTILE)
    seen = Quality(HOSTILE, 1, 1, 0.5, 0.5, 0.5, 1.0, HOSTILE)
    stages = {"ingestion": HOSTILE, HOSTILE: HOSTILE}
    view = Lifecycle(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, champion, stages, (seen,), (made,), (HOSTILE,))
    broken = Unreadable(HOSTILE, HOSTILE, HOSTILE)
    known = [reports.Report(HOSTILE, "drift", HOSTILE, HOSTILE, HOSTILE)]
    for page in (
        use_case_page(view, HOSTILE),
        overview([view, broken]),
        reports_page(HOSTILE, HOSTILE, known, HOSTILE),
        problem(HOSTILE, HOSTILE, HOSTILE),
    ):
        tags = Elements(page).tags
        assert not {"script", "img"} & {tag for tag, _ in tags}
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        assert HOSTILE in unescape(page)


def test_a_chart_shows_hostile_names_as_they_are() -> None:
    drawn = charts.bars({HOSTILE: 1.0, "$x_{1}$": 0.5})
    assert not {"script", "img"} & {tag for tag, _ in Elements(drawn).tags}
    assert HOSTILE[:35] in unescape(drawn)
    assert ">$x_{1}$<" in drawn


@pytest.mark.parametrize(
    "text", ["__b__", "a_b", "*a* `b` ~~c~~", "a | b", "[a](http://b)", "&lt;b>", "\\*a", "# a", "<http://a>", HOSTILE]
)
def test_markdown_shows_text_as_it_is(text: str) -> None:
    shown = Elements(str(model_card._html(f"- x {rendering.plain(text)} x\n\n| a |\n| --- |\n| {rendering.plain(text)} |\n")))
    assert {tag for tag, _ in shown.tags} == {"ul", "li", "div", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.text.count(text) == 2


def test_a_value_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'message' is undefined"):
        rendering.render("problem.html", title="Not here", back=None)


def test_templates_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rendering._environment.cache_clear()
    assert "--accent" in problem("Not here", "It is elsewhere.")


def test_no_page_fetches_anything() -> None:
    for page in (draw(), overview([VIEW, EMPTY])):
        tags = Elements(page).tags
        assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in tags}
        assert not [a for _, a in tags if "src" in a]
        assert all("://" not in str(a["href"]) and not str(a["href"]).startswith("/") for _, a in tags if "href" in a)
        assert "url(" not in page
        assert "@import" not in page


def test_nothing_yet_says_what_to_do() -> None:
    text = Elements(draw(EMPTY)).text
    assert "No model serves yet." in text
    assert "flights.training" in text
    assert "Nothing is monitored yet" in text
    assert "No decision has been made yet" in text
    assert "none yet" in Elements(overview([EMPTY])).text
    assert "conf/use_cases/" in Elements(overview([])).text


def test_one_unreadable_use_case_does_not_hide_the_others() -> None:
    text = Elements(overview([Unreadable("bikes", "Bikes", "s3://lake: no answer"), VIEW])).text
    assert "s3://lake: no answer" in text
    assert "Late flights" in text


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_ENVIRONMENT", "local")
    names = (
        "contracts/schedule-2013-04.html",
        "contracts/planes-snapshot.html",
        "drift/2013-04-v1.html",
        "drift/2013-05-v2.html",
        "models/v2.json",
        "models/v10.json",
    )
    for name in (*names, "drift/notes.txt", "drift/old/2013-04-v1.html", "secret.html"):
        file = tmp_path / "reports/flights" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"report {name}")
    return open_workspace("test")


def test_reports_are_found_by_what_they_are_about(workspace: Workspace) -> None:
    found = {(r.kind, r.subject, r.partition) for r in known_reports(workspace, "flights")}
    assert found == {
        ("contracts", "schedule", "2013-04"), ("contracts", "planes", "snapshot"),
        ("drift", "v1", "2013-04"), ("drift", "v2", "2013-05"), ("models", "v2", ""), ("models", "v10", ""),
    }  # fmt: skip
    assert [r.name for r in reports_of(workspace, "flights", "drift", "2013-04")] == ["2013-04-v1.html"]
    assert known_reports(workspace, "bikes") == []


def test_cards_are_listed_newest_first_and_linked_champion_first(workspace: Workspace) -> None:
    assert cards(workspace, "flights") == [10, 2]
    page = Elements(use_case_page(VIEW, "models", cards(workspace, "flights")))
    links = [str(a["href"]) for tag, a in page.tags if tag == "a" and "models/" in str(a.get("href"))]
    assert links == ["../reports/flights/models/v2.html", "../reports/flights/models/v10.html"]
    assert "v2 (champion)" in page.text
    assert "Model cards" not in Elements(use_case_page(VIEW, "models")).text
    listed = Elements(reports_page("Flights", "flights", known_reports(workspace, "flights"), None)).text
    assert "model card of v10" in listed


def test_a_known_report_is_read(workspace: Workspace) -> None:
    assert read_report(workspace, "flights", "drift", "2013-05-v2.html") == b"report drift/2013-05-v2.html"
    assert read_report(workspace, "flights", "contracts", "schedule-2013-04.html").startswith(
        b"report contracts/schedule-2013-04.html"
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("drift", "../secret.html"), ("drift", "notes.txt"), ("drift", "old/2013-04-v1.html"), ("drift", "2013-06-v1.html"),
        ("..", "secret.html"), (".", "secret.html"), ("", "secret.html"), ("contracts/..", "drift"),
        ("drift", "/etc/passwd"), ("drift", "..%2fsecret.html"), ("drift", "2013-04-v1.html\x00"), ("drift", ""),
    ],
)  # fmt: skip
def test_anything_else_is_refused(workspace: Workspace, kind: str, name: str) -> None:
    with pytest.raises(PermanentError, match="no such report"):
        read_report(workspace, "flights", kind, name)


def test_a_report_runs_in_a_sandbox_and_calls_nobody() -> None:
    policy = reports.REPORT_HEADERS["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*|connect-src", policy)
    assert "script" not in rendering.HEADERS["Content-Security-Policy"]
    assert reports.REPORT_HEADERS["X-Content-Type-Options"] == rendering.HEADERS["X-Content-Type-Options"] == "nosniff"
