"""The command line: `python -m pipelines VERB ...`. The same functions that the DAGs call, without Airflow."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NoReturn

from pipelines.commands import add_verbs
from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import load_use_case, use_case_folder
from pipelines.workspace import StageRun, open_workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 the work failed, 2 the words were wrong."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Airflow's tasks have it: the last bits of a sum hang on it
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    options = _parser().parse_args(argv)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        return int(options.verb(options) or 0)
    except (PermanentError, TransientError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: Callable[[Any], int | None], help: str, *names: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=help)
        sub.set_defaults(verb=function)
        for each in names:
            sub.add_argument(each.lower(), metavar=each)
        return sub

    stages = ", ".join(_stages())
    verb("run", run, f"run one stage for one partition. STAGE is one of {stages}", "STAGE", "USE_CASE", "PARTITION")
    verb("status", status, "the champion, the last partition per stage, quality per partition", "USE_CASE")
    decisions_ = verb("decisions", decisions, "every decision, in plain words", "USE_CASE")
    decisions_.add_argument("--json", action="store_true", help="one JSON document instead of text")
    verb("validate-config", validate_config, "read every use-case file and say what is wrong with it")
    verb("schema", schema, "print the JSON schema of a use-case file")
    verb("arrive", arrive_verb, "put the reference use case's files of one partition into the landing zone", "PARTITION")
    back = verb("rollback", rollback, "let an earlier champion serve again", "USE_CASE")
    back.add_argument("--to", type=int, help="model version; without it, the champion before this one")
    back.add_argument("--reason", required=True, help="why; it is kept in the ledger")
    tell = verb("card", card, "the model card of a version", "USE_CASE")
    tell.add_argument("version", metavar="VERSION", nargs="?", type=_version, help="such as 3; without it, the champion")
    where = tell.add_mutually_exclusive_group()
    where.add_argument("--markdown", metavar="PATH", help="write it there instead of printing it")
    where.add_argument("--html", metavar="PATH", help="write the page there instead of printing the Markdown")
    redo = verb("reproduce", reproduce, "train a version again from its record, and compare to the last bit", "USE_CASE")
    redo.add_argument("version", metavar="VERSION", type=_version)
    add_verbs(verb)
    again = verb("demo", demo, "replay 2013 through Airflow on this machine")
    again.add_argument("--fresh", action="store_true", help="erase the state first, instead of going on where it stopped")
    again.add_argument("--until", default=None, help="last month to replay, such as 2013-06")
    verb("airflow", airflow, "start Airflow and MLflow on the present state, until Ctrl-C")
    verb("clean", clean, "stop what was left running and erase the state")
    return parser


def run(options: Any) -> None:
    """Run a stage and print its result as JSON."""
    from pipelines.results import to_json

    stages = _stages()
    if options.stage not in stages:
        raise PermanentError(f"no stage '{options.stage}'; there are {', '.join(stages)}")
    use_case = load_use_case(options.use_case)
    partition = use_case.partition(options.partition)
    workspace = open_workspace(f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    print(json.dumps(to_json(stages[options.stage](StageRun(workspace, use_case, partition))), indent=1))


def _stages() -> dict[str, Callable[..., Any]]:
    from pipelines.commands import STAGES

    return STAGES


def status(options: Any) -> None:
    from pipelines.pages import lifecycle

    found = lifecycle(open_workspace(), load_use_case(options.use_case))
    champion = found.champion
    print(f"{found.title} ({found.use_case})")
    if champion:
        print(f"champion   v{champion.version}, serves from {champion.effective_from}, promoted {champion.age} ago")
        print(f"           {champion.why}")
    else:
        print("champion   none yet")
    for stage, partition in found.last_partitions.items():
        print(f"{stage:<12} last partition {partition or 'none'}")
    for m in found.quality:
        figures = f"AUC {_f(m.auc)}  log loss {_f(m.log_loss)}  drifted {_f(m.drifted_share)}"
        worth = "" if m.worth is None else f"  worth {m.worth:,.0f} {found.unit}"
        version = "–" if m.model_version is None else f"v{m.model_version}"
        print(f"{m.partition}  {version:<3} {figures}{worth}")


def _f(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"


def decisions(options: Any) -> None:
    found = open_workspace().ledger.decisions(load_use_case(options.use_case).name)
    if options.json:
        print(json.dumps([asdict(d) for d in found], indent=1))
        return
    for d in found:
        worth = f"  ({d.effect:,.0f} {d.effect_unit})" if d.effect is not None else ""
        print(f"{d.at[:19]}  {d.partition:<10} {d.kind:<14} by {d.actor}{worth}\n    {d.why}")
    if not found:
        print("no decisions yet")


def validate_config(options: Any) -> int:
    from pipelines.workspace import usable_use_cases

    good, broken = usable_use_cases()
    for use_case in good:
        print(f"{use_case.name}.yaml: good")
    for message in broken.values():
        print(message, file=sys.stderr)
    if not good and not broken:
        print(f"no use cases in {use_case_folder()}", file=sys.stderr)
    return 1 if broken or not good else 0


def schema(options: Any) -> None:
    from pipelines.use_case import UseCase

    print(json.dumps(UseCase.model_json_schema(), indent=1, sort_keys=True))


def arrive_verb(options: Any) -> None:
    from pipelines.local import REFERENCE, arrive

    use_case = load_use_case(REFERENCE)
    for uri in arrive(open_workspace(), use_case, use_case.partition(options.partition)):
        print(uri)


def _version(text: str) -> int:
    """`3` or `v3`."""
    return int(text.removeprefix("v"))


def card(options: Any) -> None:
    """Print the card as Markdown, or write it where asked; say where its page is."""
    from pathlib import Path

    from pipelines import promotion

    markdown, page, address = promotion.card(open_workspace(), load_use_case(options.use_case).name, options.version)
    if options.html or options.markdown:
        Path(options.html or options.markdown).write_text(page if options.html else markdown)
    else:
        print(markdown)
    print(f"page: {address}", file=sys.stderr)


def reproduce(options: Any) -> int:
    from pipelines.training import reproduce

    done = reproduce(open_workspace(), load_use_case(options.use_case).name, options.version)
    print(done)
    return 0 if done.identical else 1


def rollback(options: Any) -> None:
    import getpass

    from pipelines.promotion import rollback

    done = rollback(open_workspace("cli"), load_use_case(options.use_case), options.to, options.reason, getpass.getuser())
    print(done.why)


def demo(options: Any) -> int:
    from pipelines.local import LIVE, erase, run_demo
    from pipelines.workspace import state_folder

    if options.fresh:
        erase(state_folder())
    return run_demo(live=(LIVE[0], options.until or LIVE[1]))


def airflow(options: Any) -> int:
    from pipelines.local import serve

    return serve()


def clean(options: Any) -> None:
    from pipelines.local import erase
    from pipelines.workspace import state_folder

    erase(state_folder())


def _leave(status: int) -> NoReturn:
    """End at once, with everything written: threads of deltalake, idle by now, abort now and then while Python ends."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
