"""Environments: the same keys in each file, every variable filled in or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import PermanentError, redact
from pipelines.use_case import ROOT, read_use_case
from pipelines.workspace.environment import approvers_of, load_environment, usable_use_cases
from pipelines.workspace.workspace import open_workspace

NAMES = sorted(f.stem for f in (ROOT / "conf" / "environments").glob("*.yaml"))
NEEDED = {"LAKE_BUCKET": "workspace", "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "GOOGLE_CLOUD_PROJECT": "workspace"}


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {**NEEDED, "TRAINYARD_STATE": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "MLFLOW_PAGE", "TRAINYARD_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def keys(value: Any, top: str = "") -> set[str]:
    return {f"{top}{k}" for k in value} | {n for k, v in value.items() if k == "registry" for n in keys(v, f"{k}.")}


@pytest.mark.parametrize("name", NAMES)
def test_every_environment_loads_with_its_variables_set(name: str, variables: pytest.MonkeyPatch) -> None:
    environment = load_environment(name)
    assert "${" not in environment.model_dump_json()
    assert environment.spark.dataproc is None or environment.spark.operator == "dataproc"


def test_every_environment_has_the_same_keys() -> None:
    files = [yaml.safe_load((ROOT / "conf" / "environments" / f"{name}.yaml").read_text()) for name in NAMES]
    assert len({frozenset(keys(f)) for f in files}) == 1
    assert len({frozenset(f["spark"]) for f in files}) == 1


@pytest.mark.parametrize("change", ["unset", "empty"])
def test_a_variable_without_value_is_named(change: str, variables: pytest.MonkeyPatch) -> None:
    variables.delenv("LAKE_BUCKET") if change == "unset" else variables.setenv("LAKE_BUCKET", "")
    with pytest.raises(PermanentError, match=r"aws\.yaml: the environment variable LAKE_BUCKET is not set"):
        load_environment("aws")


@pytest.mark.parametrize(("value", "region"), [(None, "eu-central-1"), ("", "eu-central-1"), ("us-east-1", "us-east-1")])
def test_a_default_stands_for_a_variable_that_is_unset_or_empty(
    value: str | None, region: str, variables: pytest.MonkeyPatch
) -> None:
    if value is not None:
        variables.setenv("AWS_REGION", value)
    assert load_environment("aws").lake.options["aws_region"] == region


def test_an_unknown_environment_names_those_that_there_are(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("TRAINYARD_ENVIRONMENT", "azure")
    with pytest.raises(PermanentError, match="no environment 'azure'; there are aws, compose, gcp, local"):
        load_environment()


def test_a_yard_stands_where_the_environment_says(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
    workspace = open_workspace("somebody")
    assert workspace.lake.root == f"{tmp_path}/lake"
    assert workspace.run == "somebody"
    assert workspace.ledger.lake is workspace.lake
    assert workspace.fill("{landing}/x/{partition}.csv", partition="2013-04") == f"{tmp_path}/landing/x/2013-04.csv"
    assert list(tmp_path.iterdir()) == []


def declared(folder: Path, name: str, **changes: Any) -> None:
    document = yaml.safe_load((ROOT / "conf" / "use_cases" / "flight_delay.yaml").read_text())
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**document, "name": name, **changes}))


def test_where_approval_is_required_somebody_must_be_able_to_give_it(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
    variables.setenv("TRAINYARD_USE_CASES", str(tmp_path))
    declared(tmp_path, "asks", approval="required")
    declared(tmp_path, "misspelt", approval="required", approvers="model-aprovers")
    declared(tmp_path, "asks_nobody", approval="automatic", approvers="whoever")
    good, broken = usable_use_cases()
    assert [use_case.name for use_case in good] == ["asks", "asks_nobody"]
    assert broken == {
        "misspelt.yaml": "misspelt.yaml: approvers: no group 'model-aprovers' among the environment's groups; "
        "did you mean 'model-approvers'?"
    }


def test_a_group_without_members_could_never_answer(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
    declared(tmp_path, "asks", approval="required")
    use_case, environment = read_use_case(tmp_path / "asks.yaml"), load_environment()
    assert approvers_of(use_case, environment) == ("admin",)
    for groups, words in (({"model-approvers": ()}, "nobody is in the group"), ({}, "this environment has no groups")):
        with pytest.raises(PermanentError, match=words):
            approvers_of(use_case, environment.model_copy(update={"groups": groups}))


# Secrets


@pytest.fixture
def own_file(tmp_path: Path, variables: pytest.MonkeyPatch) -> Any:
    """`local.yaml` with another section `lake`, in a checkout of its own."""

    def write(lake: str, tracking_uri: str = "sqlite:///${STATE}/mlflow.db") -> None:
        text = (ROOT / "conf" / "environments" / "local.yaml").read_text()
        start, end = text.index("lake:"), text.index("landing:")
        text = text[:start] + lake + text[end:]
        folder = tmp_path / "conf" / "environments"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "local.yaml").write_text(text.replace("sqlite:///${STATE}/mlflow/mlflow.db", tracking_uri))
        variables.setattr("pipelines.workspace.environment.ROOT", tmp_path)

    return write


ODD = [
    "8123456789",
    "1e400",
    "true",
    "null",
    "with: colon",
    "*star",
    "a #b",
    "- dash",
    "{brace",
    "'quote\"",
    "%percent",
    "@at",
    "0777",
]


@pytest.mark.parametrize("secret", ODD)
def test_a_secret_is_the_text_that_it_is_whatever_it_looks_like(
    secret: str, own_file: Any, variables: pytest.MonkeyPatch
) -> None:
    own_file("lake:\n  root: ${STATE}/lake\n  options: {AWS_SECRET_ACCESS_KEY: '${LAKE_SECRET}', plain: '${LAKE_PLAIN}'}\n")
    variables.setenv("LAKE_SECRET", secret)
    variables.setenv("LAKE_PLAIN", secret)
    assert load_environment().lake.options == {"AWS_SECRET_ACCESS_KEY": secret, "plain": secret}


@pytest.mark.parametrize(("variable", "key"), [("LAKE_TOKEN", "plain"), ("HARMLESS", "AWS_SECRET_ACCESS_KEY")])
def test_a_value_is_a_secret_by_the_name_of_its_variable_or_of_its_key(
    variable: str, key: str, own_file: Any, variables: pytest.MonkeyPatch
) -> None:
    own_file(f"lake:\n  root: ${{STATE}}/lake\n  options: {{{key}: '${{{variable}}}'}}\n")
    variables.setenv(variable, "tell-nobody-78")
    load_environment()
    assert redact("it was tell-nobody-78 again") == "it was *** again"


@pytest.mark.parametrize(
    "lake",
    [
        "lake:\n  root: ${STATE}/lake\n  optionz: {key: '${LAKE_SECRET}'}\n",
        "lake: '${LAKE_SECRET}'\n",
        "lake:\n  root: ['${LAKE_SECRET}']\n",
        "lake:\n  root: {a: '${LAKE_SECRET}'}\n  options: '${LAKE_SECRET}'\n",
    ],
)
def test_an_error_about_a_filled_value_does_not_show_it(lake: str, own_file: Any, variables: pytest.MonkeyPatch) -> None:
    own_file(lake)
    variables.setenv("LAKE_SECRET", "tell-nobody-77")
    with pytest.raises(PermanentError, match=r"local\.yaml: lake") as caught:
        load_environment()
    assert "tell-nobody-77" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_a_file_that_is_no_yaml_is_an_error_of_ours(own_file: Any) -> None:
    own_file("lake: [\n")
    with pytest.raises(PermanentError, match=r"local\.yaml: while parsing"):
        load_environment()


def test_a_comment_may_name_a_variable_that_is_not_set(own_file: Any) -> None:
    own_file("lake:  # as in ${NOWHERE}\n  root: ${STATE}/lake  # or ${NOWHERE_ELSE}\n")
    assert load_environment().lake.options == {}
