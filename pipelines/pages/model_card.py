"""The content of a model card as blocks, from its record and the ledger: page and Markdown say the very same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import PermanentError
from pipelines.pages.figures import UNKNOWN, count, figure, moment
from pipelines.pages.model_card_blocks import Block, Bullets, Facts, Row, Section, Table, Text
from pipelines.pages.model_card_html import card_page
from pipelines.pages.model_card_markdown import card_markdown
from pipelines.pages.model_card_quality import calibration, gates, importances, quality, slices, worth
from pipelines.pages.model_card_story import Story, story
from pipelines.promotion import load_record
from pipelines.workspace import Decision, Workspace


@dataclass(frozen=True)
class Card:
    """A version's card, as page and as Markdown; `address` is where Airflow shows it."""

    page: str
    markdown: str
    address: str


def read_card(workspace: Workspace, use_case: str, version: int | None = None) -> Card:
    """The card of a version, the champion's by default, drawn from its record and the ledger of now.

    Raises:
        PermanentError: as in `load_record`, or there is no champion.
    """
    champion = workspace.ledger.champion(use_case)
    wanted = version if version is not None else champion.version if champion else None
    if wanted is None:
        raise PermanentError(f"{use_case}: there is no champion yet, so no card of it; say which version")
    record = load_record(workspace, use_case, wanted)
    title, content = heading(record), blocks(record, workspace.ledger.decisions(use_case))
    return Card(
        page=card_page(title, content),
        markdown=card_markdown(title, content),
        address=f"lifecycle/reports/{use_case}/models/v{wanted}.html",
    )


def heading(record: dict[str, Any]) -> str:
    return f"Model card: {record['title']}, v{record['version']}"


def blocks(record: dict[str, Any], decisions: Sequence[Decision]) -> list[Block]:
    """Everything on the card, in order."""
    told = story(record, decisions)
    parts = (
        _summary(record, told), _limits(record), _data(record), _candidates(record), quality(record), slices(record),
        calibration(record), importances(record), worth(record), gates(record), _decided(told), _reproduction(record),
    )  # fmt: skip
    return [block for part in parts for block in part]


def _summary(record: dict[str, Any], told: Story) -> list[Block]:
    chosen = next(c for c in record["candidates"] if c["chosen"])
    trained = f"{record['data']['all']['first_day']} to {record['data']['trained_through']}"
    judged = f"rows from {record['data']['holdout_from']} on, which it had not seen"
    facts = [
        ("Purpose", record["purpose"]),
        ("It predicts", record["label"] or UNKNOWN),
        ("Owner", record["owner"]),
        ("Status", told.sentence),
        ("Approval", told.approved),
        ("Model", f"{chosen['candidate']}: {chosen['estimator']}"),
        ("Trained on", trained if record["refitted"] else f"{record['data']['fit']['first_day']} to before the judged rows"),
        ("Judged on", judged),
        ("Card made", f"{moment(record['made_at'])}, by run {record['made_by']}"),
    ]
    return [Facts(tuple(facts))]


def _limits(record: dict[str, Any]) -> list[Block]:
    found = [*record["limits"], *_derived_limits(record)]
    return [Section("Limits"), Bullets(tuple(found))]


def _derived_limits(record: dict[str, Any]) -> list[str]:
    """What follows from how it was made."""
    data, small = record["data"], [s for s in record["slices"] if not s["judged"]]
    found = [
        f"Every figure of quality on this card is from {data['holdout']['days']} days, {data['holdout']['first_day']} to "
        f"{data['holdout']['last_day']}; other seasons and conditions were not seen there."
    ]
    if record["refitted"]:
        found.append(
            "The version that serves was fitted once more with the judged days; the figures are those of the same pipeline "
            "before that."
        )
    if small:
        named = ", ".join(f"{s['segment']}={s['value']} ({s['rows']:,} rows)" for s in small)
        found.append(f"Too small to judge (fewer than {record['min_slice_rows']:,} rows): {named}.")
    if record["warnings"] is None:
        found.append("The data was not assessed before the training.")
    found += [
        f"Warning of the data's assessment, {w['question'].replace('_', ' ')}: {w['sentence']}"
        for w in record["warnings"] or ()
    ]
    found += [f"Candidate {name} crashed in this training, so it was not compared." for name in record["crashed"]]
    return found


def _data(record: dict[str, Any]) -> list[Block]:
    data = record["data"]
    head = ("", "Rows", "Days", "From", "To", "Positive share")
    names = {"fit": "Fitted and searched on", "holdout": "Judged on (holdout)", "all": "All"}
    rows = tuple((name, *_spread(data[key])) for key, name in names.items())
    tables = "; ".join(f"{name} version {version}" for name, version in data["tables"].items())
    facts = (("Tables", tables), ("Partitions", ", ".join(data["partitions"])), ("Missing values", _missing(data)))
    return [Section("Data"), Table(head, rows), Facts(facts)]


def _spread(part: dict[str, Any]) -> Row:
    return count(part["rows"]), count(part["days"]), part["first_day"], part["last_day"], f"{part['positive_share']:.2%}"


def _missing(data: dict[str, Any]) -> str:
    missing = dict(sorted(data["all"]["missing"].items(), key=lambda item: -item[1]))
    complete = data["all"]["complete_features"]
    if not missing:
        return f"none: all {data['features']} features are complete"
    shown = ", ".join(f"{name} {share:.1%}" for name, share in list(missing.items())[:8])
    more = f" and {len(missing) - 8} more with at most {list(missing.values())[7]:.1%}" if len(missing) > 8 else ""
    return f"{complete} of {data['features']} features are complete; share of rows without a value: {shown}{more}"


def _candidates(record: dict[str, Any]) -> list[Block]:
    head = ("Candidate", "Estimator", "Searched", "Best found", "Trials", "Log loss, folds")
    rows = [
        (
            f"{c['candidate']}{' (simple)' if c['simple'] else ''}{': chosen' if c['chosen'] else ''}",
            _estimator(c),
            "; ".join(f"{name} {_space(space)}" for name, space in c["search"].items()) or "nothing",
            _params(c["best"]) or UNKNOWN,
            str(c["trials"]),
            figure(c["folds_log_loss"]),
        )
        for c in record["candidates"]
    ]
    rows += [(name, "crashed", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN) for name in record["crashed"]]
    return [Section("Candidates tried"), Text(_choice(record)), Table(head, tuple(rows), left=4)]


def _choice(record: dict[str, Any]) -> str:
    return (
        "Searched over time-ordered folds of the rows before the holdout: validation days are always newer than fitted ones. "
        f"A complex model has to beat the simple one by {record['min_gain_over_simple']:g} in log loss, over the folds and on "
        "the holdout again; otherwise the simple one is chosen."
    )


def _estimator(candidate: dict[str, Any]) -> str:
    name, fixed = candidate["estimator"].rpartition(".")[2], _params(candidate["fixed"])
    calibrated = f", calibrated ({candidate['calibrate']})" if candidate["calibrate"] else ""
    return f"{name}{f' with {fixed}' if fixed else ''}{calibrated}"


def _space(space: dict[str, Any]) -> str:
    if space["type"] == "categorical":
        return "in " + ", ".join(map(str, space["choices"]))
    return f"{_short(space['low'])} to {_short(space['high'])}{' (log)' if space.get('log') else ''}"


def _params(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _decided(told: Story) -> list[Block]:
    rows = tuple((moment(d.at), d.kind, d.actor, d.why) for d in told.decisions)
    found: list[Block] = [Section("How it came to be, and what became of it"), Text(told.sentence)]
    if rows:
        found.append(Table(("When", "Decision", "By", "Why"), rows, left=3, wide=True))
    return found


def _reproduction(record: dict[str, Any]) -> list[Block]:
    made = record["reproduction"]
    facts = (
        ("Command", made["command"]),
        ("Code", made["code"]),
        ("Packages (digest of requirements.lock)", made["lock"]),
        ("Configuration (digest)", made["configuration"]),
        ("Python", made["python"]),
        ("Seed", str(made["seed"])),
        ("Model file (SHA-256)", made["digest"] or UNKNOWN),
        ("MLflow run", made["run"]),
        ("MLflow run of the judged fit", made["judged_run"]),
        ("Assessment of the data", made["assessment"] or UNKNOWN),
    )
    return [Section("Reproduction"), Facts(facts)]
