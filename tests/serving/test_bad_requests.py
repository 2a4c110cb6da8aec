"""A corpus of bad requests: each gets a 4xx that names the row, the field and what was expected; none is kept, or a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.serving.edge import Limits
from tests.conftest import World, copy_of
from tests.serving.serving_world import answers, row, served

GOOD, JSON = row(), {"content-type": "application/json"}


def second(**values: Any) -> dict[str, Any]:
    """Two rows, of which the second is wrong."""
    return {"dataframe_records": [GOOD, row(**values)]}


def split(columns: list[str], *data: list[Any]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": list(data)}}


NAMES, VALUES = list(GOOD), list(GOOD.values())
# name: (body, status, row, field, in what is expected)
CORPUS: dict[str, tuple[Any, int, int | None, str | None, str]] = {
    "no body": (b"", 422, None, None, "required"),
    "no JSON": (b"distance=5", 400, None, None, "JSON"),
    "JSON that was cut off": (b'{"instances": [{"depot": "nor', 400, None, None, "JSON"),
    "no UTF-8": (b'{"instances": "\xff\xfe"}', 400, None, None, "JSON"),
    "nested too deep": (b"[" * 100_000, 400, None, None, "JSON"),
    "a number of 5,000 digits": (b'{"instances": [{"distance": ' + b"9" * 5000 + b"}]}", 400, None, None, "JSON"),
    "half a character as a name": (b'{"instances": [{"\\ud800": 1}]}', 422, 0, None, "string"),
    "half a character as a value": (json.dumps(second(carrier="\ud800")).encode(), 422, 1, "carrier", "string"),
    "null": (b"null", 422, None, None, "required"),
    "a list": ([GOOD], 422, None, None, "object"),
    "a text": ("rows", 422, None, None, "object"),
    "a number": (5, 422, None, None, "object"),
    "an empty object": ({}, 422, None, None, "exactly one of"),
    "two forms": ({"instances": [GOOD], "dataframe_records": [GOOD]}, 422, None, None, "exactly one of"),
    "an unknown form": ({"inputs": [GOOD]}, 422, None, "inputs", "not permitted"),
    "a form and something else": ({"instances": [GOOD], "params": {"a": 1}}, 422, None, "params", "not permitted"),
    "rows that are null": ({"instances": None}, 422, None, None, "exactly one of"),
    "no rows": ({"instances": []}, 422, None, "instances", "at least 1"),
    "rows that are one object": ({"instances": GOOD}, 422, None, "instances", "list"),
    "rows that are a text": ({"instances": "all"}, 422, None, "instances", "list"),
    "a row that is a list": ({"instances": [GOOD, VALUES]}, 422, 1, "instances", "dictionary"),
    "a row that is null": ({"instances": [GOOD, None]}, 422, 1, "instances", "dictionary"),
    "too many rows": ({"instances": [GOOD] * 10_001}, 413, None, "instances", "at most 10000"),
    "a field that is missing": (second(distance=...), 422, 1, "distance", "required"),
    "a field that nobody knows": (second(colour="red"), 422, 1, "colour", "not permitted"),
    "a field in other capitals": (second(distance=..., Distance=5), 422, 1, "distance", "required"),
    "a number as a text": (second(distance="5"), 422, 1, "distance", "number"),
    "a number that is true": (second(distance=True), 422, 1, "distance", "number"),
    "a number that is a list": (second(distance=[5]), 422, 1, "distance", "number"),
    "a number that is an object": (second(distance={"km": 5}), 422, 1, "distance", "number"),
    "a number that is missing where it must not": (second(distance=None), 422, 1, "distance", "number"),
    "a number that is NaN where it must not": (second(distance=float("nan")), 422, 1, "distance", "number"),
    "an infinite number": (second(weight=float("inf")), 422, 1, "weight", "finite"),
    "a number beyond what a double holds": (b'{"instances": [' + json.dumps(GOOD).replace("120.5", "1e999").encode() + b"]}",
                                            422, 0, "distance", "finite"),
    "a number that is infinite once scaled": (second(all_parcels_late_1d=-1e305), 422, 1, "all_parcels_late_1d", "greater"),
    "a whole number beyond what a double holds": (second(distance=10**400), 422, 1, "distance", "number"),
    "a number below its range": (second(distance=-1), 422, 1, "distance", "greater than or equal to 0"),
    "a number above its range": (second(distance=5001), 422, 1, "distance", "less than or equal to 5000"),
    "a share where a whole number is": (second(pieces=1.5), 422, 1, "pieces", "multiple of 1"),
    "a joined number above its range": (second(rating=6), 422, 1, "rating", "less than or equal to 5"),
    "a category that the contract does not list": (second(depot="west"), 422, 1, "depot", "'north', 'south' or 'east'"),
    "a category of another form": (second(carrier="aa"), 422, 1, "carrier", "match ^[A-Z]{2}$"),
    "a category that is a number": (second(carrier=5), 422, 1, "carrier", "string"),
    "a category that is missing where it must not": (second(carrier=None), 422, 1, "carrier", "string"),
    "a key of another form": (second(shipment_id="parcel 1"), 422, 1, "shipment_id", "match"),
    "a key that is a number": (second(shipment_id=5), 422, 1, "shipment_id", "string"),
    "split without columns": ({"dataframe_split": {"data": [VALUES]}}, 422, None, "columns", "required"),
    "split without data": ({"dataframe_split": {"columns": NAMES}}, 422, None, "dataframe_split", "required"),
    "split without rows": (split(NAMES), 422, None, "dataframe_split", "at least 1"),
    "split that is a list": ({"dataframe_split": [GOOD]}, 422, None, "dataframe_split", "dictionary"),
    "split with a row too short": (split(NAMES, VALUES, VALUES[:-1]), 422, 1, "dataframe_split", "8 values"),
    "split with a row too long": (split(NAMES, VALUES, [*VALUES, 1]), 422, 1, "dataframe_split", "8 values"),
    "split with a row that is no list": (split(NAMES, VALUES, GOOD), 422, 1, "dataframe_split", "list"),
    "split with a column twice": (split([*NAMES[:-1], NAMES[0]], VALUES), 422, None, "dataframe_split", "each column once"),
    "split with a column too few": (split(NAMES[1:], VALUES[1:]), 422, 0, "depot", "required"),
    "split with a column that is a number": (split([*NAMES[:-1], 5], VALUES), 422, None, "columns", "string"),
    "split with a wrong value": (split(NAMES, VALUES, ["west", *VALUES[1:]]), 422, 1, "depot", "'north'"),
    "split with too many rows": (split(NAMES, *[VALUES] * 10_001), 413, None, "dataframe_split", "at most 10000"),
}  # fmt: skip
KEYS: dict[str, tuple[Any, int, int | None, str | None, str]] = {
    "no keys": ({"keys": []}, 422, None, "keys", "at least 1"),
    "keys that are missing": ({"partition": "2024-03-09"}, 422, None, "keys", "required"),
    "keys that are one text": ({"keys": "2024-03-09-0001"}, 422, None, "keys", "list"),
    "a key that is null": ({"keys": ["2024-03-09-0001", None]}, 422, 1, "keys", "string"),
    "a key that is not of its form": ({"keys": ["2024-03-09-0001", "x"]}, 422, 1, "keys", "match"),
    "a key that was not published": (
        {"keys": ["2024-03-09-0001", "2024-03-09-9999"], "partition": "2024-03-09"}, 404, 1, "keys", "published in 2024-03-09",
    ),
    "a partition that was not published": (
        {"keys": ["2024-03-09-0001"], "partition": "2031-01-01"}, 404, None, "partition", "published",
    ),
    "a partition that is none": ({"keys": ["2024-03-09-0001"], "partition": "../.."}, 404, None, "partition", "published"),
    "a partition that is a number": ({"keys": ["2024-03-09-0001"], "partition": 5}, 422, None, "partition", "string"),
    "a field that nobody knows": ({"keys": ["2024-03-09-0001"], "version": 5}, 422, None, "version", "not permitted"),
    "too many keys": ({"keys": ["2024-03-09-0001"] * 10_001}, 413, None, "keys", "at most 10000"),
}  # fmt: skip
CASES = [("/invocations", *case) for case in CORPUS.items()] + [("/keys", *case) for case in KEYS.items()]


@pytest.fixture(scope="module")
def client(_one_champion: Any, tmp_path_factory: pytest.TempPathFactory, use_case: Any) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("served")
    world = copy_of(_one_champion, folder, use_case)
    with served(world, folder) as (found, parts):
        yield found
        assert parts.spool.bytes == 0  # nobody was answered
        parts.write()
        assert answers(world).empty


@pytest.mark.parametrize(("path", "name", "case"), CASES, ids=[f"{path}: {name}" for path, name, _ in CASES])
def test_a_bad_request_is_told_what_is_wrong_and_where(path: str, name: str, case: Any, client: TestClient) -> None:
    body, status, number, field, expected = case
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    found = answer.json()["detail"]
    assert found
    assert [
        each for each in found if expected in each["expected"] and each["row"] == number and field in (each["field"], None)
    ], found
    assert len(answer.content) < 20_000


def test_the_corpus_has_forty_and_its_good_row_is_good(one_champion: World, tmp_path: Any) -> None:
    assert len(CASES) >= 40
    with served(one_champion, tmp_path) as (client, _):
        assert client.post("/invocations", json={"instances": [GOOD]}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/invocations", {"content-type": "text/csv"}, 415),
        ("POST", "/invocations", {}, 415),
        ("GET", "/invocations", {}, 405),
        ("DELETE", "/keys", {}, 405),
        ("POST", "/", {}, 405),
        ("GET", "/nowhere", {}, 404),
        ("POST", "/invocations", {**JSON, "content-length": "99999999999"}, 413),
        ("POST", "/invocations", {**JSON, "content-length": "many"}, 413),
    ],
)
def test_what_is_no_request_at_all_is_refused(
    method: str, path: str, headers: dict[str, str], status: int, client: TestClient
) -> None:
    content = b"depot\nnorth\n" if method == "POST" else None
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"][0]["expected"]


def test_a_body_that_never_says_how_long_it_is_is_cut_off(one_champion: World, tmp_path: Any) -> None:
    read = []

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            read.append(1)
            yield b"x" * 1000

    with served(one_champion, tmp_path, Limits(body=10_000)) as (client, _):
        answer = client.post("/invocations", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["detail"][0]["expected"]) == (413, "a body of at most 10,000 bytes")
