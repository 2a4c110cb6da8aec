"""Verbs about the use-case files: what is wrong with them, what may stand in them."""

from __future__ import annotations

import json
import sys

from typer import Exit

from pipelines.commands.program import verb


@verb("Configuration", "validate-config", "")
def validate_config() -> None:
    """Read every use-case file and say what is wrong with it."""
    from pipelines.use_case import use_case_folder
    from pipelines.workspace import usable_use_cases

    good, broken = usable_use_cases()
    for use_case in good:
        print(f"{use_case.name}.yaml: good")
    for message in broken.values():
        print(message, file=sys.stderr)
    if not good and not broken:
        print(f"no use cases in {use_case_folder()}", file=sys.stderr)
    if broken or not good:
        raise Exit(1)


@verb("Configuration", "schema", "> conf/use_case.schema.json")
def schema() -> None:
    """Print the JSON schema of a use-case file."""
    from pipelines.use_case import UseCase

    print(json.dumps(UseCase.model_json_schema(), indent=1, sort_keys=True))
