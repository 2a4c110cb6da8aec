"""What a file says is kept as it came, or its row is rejected with its line and text: nothing is repaired in silence."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.errors import PermanentError
from pipelines.ingestion import reading
from pipelines.use_case import Partition, Source, UseCase
from pipelines.workspace import Workspace
from tests import synthetic
from tests.ingestion.pipeline import (
    contracted,
    free_text,
    ingest,
    lines,
    published,
    rejected,
    texts,
    unknown,
)


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return synthetic.days(use_case, 1)[0]


def test_a_delimiter_within_quotes_is_part_of_a_columns_name(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    ingest(workspace, use_case, day, lines(day, header=',"price, net"', more=",7"))
    assert unknown(workspace) == {line: {"price, net": "7"} for line in range(2, 17)}


HI = 'say "hi" Joe'
KEPT: list[tuple[str, str, str, dict[str, Any]]] = [
    ("backslashes, declared", r'"say \"hi\" Joe"', HI, {"escape": "\\"}),
    ("backslashes without quotes, declared", r"say \"hi\" Joe", HI, {"escape": "\\"}),
    ("a delimiter behind an escape", r"a\,b", "a,b", {"escape": "\\"}),
    ("quotes doubled", '"say ""hi"" Joe"', HI, {}),
    ("another quote", "'say \"hi\" Joe'", HI, {"quote": "'"}),
    ("no quotes declared", 'say "hi" Joe', HI, {"quote": None}),
    ("spaces around", "  a ", "  a ", {}),
    ("a carriage return within quotes", '"a\rb"', "a\rb", {}),
    ("a line break within quotes", '"a\nb"', "a\nb", {"multiline": True}),
    ("a separator of lines that is none in a file", "a\u2028b\x0bc\x1cd", "a\u2028b\x0bc\x1cd", {}),
]
NOT_AS_DECLARED = [
    ("backslashes, not declared", r'"say \"hi\" Joe"'),
    ("backslashes without quotes, not declared", r"say \"hi\" Joe"),
    ("a quote in the midst", 'a 5" pipe'),
    ("text after the closing quote", '"a"b'),
    ("a space before the quote", ' "a"'),
    ("a carriage return in the midst", "a\rb"),
]


@pytest.mark.parametrize(("_case", "text", "value", "keys"), KEPT, ids=[case[0] for case in KEPT])
def test_a_value_in_the_declared_format_is_kept_as_it_is(
    _case: str, text: str, value: str, keys: dict[str, Any], workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    ingest(workspace, free_text(use_case, **keys), day, lines(day, text))
    assert rejected(workspace) == []
    assert published(workspace)[0]["carrier"] == value


def test_a_row_that_is_not_strictly_in_the_format_is_rejected_with_line_and_text(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    file = lines(day, *(text for _, text in NOT_AS_DECLARED))
    ingest(workspace, free_text(use_case), day, file)
    assert rejected(workspace) == [(line, "row.format") for line in range(2, 2 + len(NOT_AS_DECLARED))]
    assert texts(workspace) == {line: file.split("\n")[line - 1] for line in range(2, 2 + len(NOT_AS_DECLARED))}


INTEGERS = [
    ("4.00638E+12", None), ("4e2", None), ("0x1F", None), ("1_000", None), ("5.5", None), ("99999999999999999999", None),
    ("5.0", 5), ("5.", 5), ("-3", -3), ("9007199254740993", 9007199254740993), ("9007199254740993.0", 9007199254740993),
]  # fmt: skip


def test_an_integer_is_what_its_digits_say_or_its_row_is_rejected(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    """The planted defect: through a float, 4.00638E+12 is an id with lost digits, and 2**53 + 1 another number."""
    free = contracted(use_case, columns={"pieces": {"min": None, "max": None}}, max_rejected_share=0.9)
    frame = synthetic.parcels(day, 20)[0].astype({"pieces": object})
    frame.loc[: len(INTEGERS) - 1, "pieces"] = [text for text, _ in INTEGERS]
    ingest(workspace, free, day, frame)
    good = {row["_row"] - 2: row["pieces"] for row in published(workspace) if row["_row"] < 2 + len(INTEGERS)}
    assert good == {number: value for number, (_, value) in enumerate(INTEGERS) if value is not None}
    assert rejected(workspace) == [(n + 2, "pieces.type") for n, (_, value) in enumerate(INTEGERS) if value is None]


def test_an_integers_bound_is_not_rounded(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    bound = contracted(use_case, columns={"pieces": {"min": 1, "max": 9007199254740993}})
    frame = synthetic.parcels(day, 20)[0].astype({"pieces": object})
    frame.loc[:1, "pieces"] = ["9007199254740993", "9007199254740994"]
    ingest(workspace, bound, day, frame)
    assert rejected(workspace) == [(3, "pieces.range")]


def test_line_numbers_are_those_of_an_editor(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """After blank lines, also with carriage returns, and after values of several lines."""
    found = lines(day, '"a\n\nb"', "fine", '"c\nd"').splitlines(keepends=True)
    found[6] = found[6].replace("\n", "\n\n\r\n\n")
    text = "\n" + "".join(found).rstrip("\n") + ",too,many\n"
    ingest(workspace, free_text(use_case, multiline=True), day, text)
    last = text.rstrip("\n").count("\n") + 1
    assert rejected(workspace) == [(last, "row.columns")]
    for row in published(workspace):
        assert row["shipment_id"] in text.split("\n")[row["_row"] - 1]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"delimiter": "§"}, "delimiter"), ({"delimiter": "||"}, "delimiter"), ({"delimiter": ""}, "delimiter"),
        ({"delimiter": "\n"}, "delimiter"), ({"quote": "«"}, "quote"), ({"escape": "||"}, "escape"),
        ({"quote": ","}, "must differ"), ({"escape": '"'}, "must differ"), ({"encoding": "hex"}, "encoding"),
    ],
)  # fmt: skip
def test_what_no_reader_could_use_is_refused_with_its_key(keys: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Source.model_validate({"uri": "a.csv", **keys})


def test_a_file_in_batches_is_the_same_file(
    workspace: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(day, '"a\nb"', "fine", 'not " fine', header=",colour", more=",red")
    free = free_text(use_case, multiline=True)
    ingest(workspace, free, day, file)
    whole = published(workspace), rejected(workspace), texts(workspace), unknown(workspace)
    for rows, characters in ((1, 10**6), (4, 10**6), (50_000, 90)):
        monkeypatch.setattr(reading, "_ROWS", rows)
        monkeypatch.setattr(reading, "_CHARACTERS", characters)
        ingest(workspace, free, day, file)
        assert (published(workspace), rejected(workspace), texts(workspace), unknown(workspace)) == whole


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(
    workspace: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingestion.parsing.LONGEST", 500)
    with pytest.raises(PermanentError, match="near line 2: a quoted value runs over the end"):
        ingest(workspace, free_text(use_case, multiline=True), day, lines(day, '"a'))


def test_the_mark_of_another_encoding_is_not_dropped(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """Declared as latin-1, a file of UTF-8 with a mark would be read as other letters, in silence."""
    with pytest.raises(PermanentError, match="'shipment_id' is missing"):
        ingest(workspace, free_text(use_case, encoding="latin-1"), day, b"\xef\xbb\xbf" + lines(day, "Žižkov").encode())
