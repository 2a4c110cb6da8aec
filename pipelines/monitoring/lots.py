"""Rows of several tables joined by key, of which memory never holds all: lots by the key's hash, kept in files meanwhile.

The partners of a row are in the lot of the same number, so that lots are joined one by one; each is a sample of all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipelines.monitoring.windows import Served
from pipelines.use_case import PARTITION, features_table, labels_table
from pipelines.workspace import StageRun, served_batches

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

ROWS = 2**19  # of a lot, about
_VERSION = "features_version"


def served_with_outcomes(run: StageRun, seen: Served) -> Iterator[DataFrame]:
    """What was served in the window, with `label` where it is known, and the segments as they were served; lot by lot."""
    key, segments, count = run.use_case.features.key, run.use_case.features.segments, -(-seen.rows // ROWS)
    keys, event = list(seen.partitions), [PARTITION, key]
    with TemporaryDirectory() as place:
        kept = [Path(place, name) for name in ("served", "labels", "features")]
        keep(_served(run, seen), key, count, kept[0])
        keep(run.lake.batches(labels_table(run.use_case), keys, [key, "label"]), key, count, kept[1])
        if segments:
            keep(_features(run, seen, [key, *segments]), key, count, kept[2])
        for number in range(count):
            rows = _joined(lot(kept[0], number), lot(kept[1], number), event, ["label"])
            yield _joined(rows, lot(kept[2], number), [*event, _VERSION], list(segments))


def _served(run: StageRun, seen: Served) -> Iterator[pa.Table]:
    import pyarrow.compute as pc

    columns = [run.use_case.features.key, "probability", "model_version", _VERSION]
    for rows in served_batches(run.workspace, run.use_case, seen.partitions, columns):
        mine = rows.filter(pc.equal(rows["model_version"], seen.version)).drop_columns(["model_version"])
        yield mine.set_column(mine.schema.get_field_index(_VERSION), _VERSION, pc.fill_null(mine[_VERSION], -1))


def _features(run: StageRun, seen: Served, columns: list[str]) -> Iterator[pa.Table]:
    """Of the version that the rows name; of now where they are from before they did."""
    import pyarrow as pa

    for version, rows in seen.built.items():
        for batch in run.lake.batches(features_table(run.use_case), rows, columns, version):
            yield batch.append_column(_VERSION, pa.repeat(-1 if version is None else version, len(batch)))


def keep(batches: Iterable[pa.Table], key: str, count: int, folder: Path) -> None:
    """In a file per lot, and per schema: files of a table may be older than a column."""
    import numpy as np
    import pyarrow as pa
    from pandas.util import hash_array

    folder.mkdir()
    small = pa.ipc.IpcWriteOptions(compression="lz4")
    writers: dict[tuple[int, pa.Schema], pa.RecordBatchStreamWriter] = {}
    with ExitStack() as stack:
        for each in batches:
            batch = each.replace_schema_metadata(None)
            lot = (hash_array(batch[key].to_numpy(), categorize=False) % count).astype(int)
            for number in np.unique(lot):
                which = number, batch.schema
                if which not in writers:
                    file = folder / f"{number}-{len(writers)}"
                    writers[which] = stack.enter_context(pa.ipc.new_stream(str(file), batch.schema, options=small))
                writers[which].write_table(batch.filter(pa.array(lot == number)))


def lot(folder: Path, number: int) -> DataFrame | None:
    import pyarrow as pa

    found = []
    for file in sorted(folder.glob(f"{number}-*")):
        with pa.OSFile(str(file)) as source:
            found.append(pa.ipc.open_stream(source).read_all())
        file.unlink()
    return pa.concat_tables(found, promote_options="default").to_pandas() if found else None


def _joined(rows: DataFrame | None, more: DataFrame | None, on: list[str], columns: list[str]) -> DataFrame:
    """With the columns of the other side, null where it has no such row."""
    assert rows is not None
    found = rows if more is None else rows.merge(more, on=on, how="left", validate="one_to_one")
    return found.reindex(columns=list(dict.fromkeys([*rows.columns, *columns])))
