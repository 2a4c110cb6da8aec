"""MLflow's database where a process opens the file itself (SQLite): made once, and only used from where it says it lies.

MLflow writes whole addresses into it: of each experiment, run and model. In a copy of the state folder they still name the
original, and a training in the copy would write its model there.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import PermanentError

_SQLITE = "sqlite:///"
# Table and column of every address that MLflow 3.17 keeps of artifacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class RegistryDatabase:
    """`file` is the database, `artifacts` the configured place of the models."""

    file: Path
    artifacts: str

    @classmethod
    def at(cls, tracking_uri: str, artifacts: str) -> RegistryDatabase | None:
        """None where the address is a server's."""
        if not tracking_uri.startswith(_SQLITE):
            return None
        return cls(Path(tracking_uri.removeprefix(_SQLITE)), artifacts.rstrip("/"))

    def prepare(self) -> None:
        """Make the tables, if there are none: once, under a lock, as MLflow's migrations are not made for two at a time."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not self._is_made():
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                SqlAlchemyStore(f"{_SQLITE}{self.file}", self.artifacts)

    def recorded_places(self) -> list[str]:
        """Where experiments keep their artifacts, below the configured place or not; the one that MLflow makes is left out."""
        if not self._is_made():
            return []
        with self._connected() as database:
            found = database.execute("SELECT DISTINCT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
        return sorted(str(place) for (place,) in found)

    def refuse_other_place(self) -> None:
        """Raises PermanentError where the database was made for another place, with both."""
        other = [place for place in self.recorded_places() if not self._is_here(place)]
        if other:
            raise PermanentError(
                f"{self.file}: was made for models in {_parent(other[0])}, but this environment keeps them in "
                f"{self.artifacts}: a copy of another state? Nothing was written. To let it use the models here, copy them "
                f"with it and say: python -m pipelines relocate --from {_parent(other[0])}"
            )

    def relocate(self, before: str) -> int:
        """Let every address below `before` name the configured place instead; how many there were.

        Raises:
            PermanentError: no address lies there, or a folder that is named does not lie here.
        """
        before = before.rstrip("/")
        with self._locked(), self._connected() as database, database:
            here = f"{self.artifacts}/"
            for (place,) in database.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall():
                moved = Path(str(place).replace(f"{before}/", here, 1).removeprefix("file://"))
                if str(place).startswith(f"{before}/") and not moved.is_dir():
                    raise PermanentError(f"{moved}: no such folder; copy the models from {place} first")
            changed = [self._move(database, table, column, f"{before}/", here) for table, column in _ADDRESSES]
        if not sum(changed):
            raise PermanentError(
                f"{self.file}: names nothing below {before}; it has {', '.join(self.recorded_places()) or 'none'}"
            )
        return sum(changed)

    def _move(self, database: sqlite3.Connection, table: str, column: str, before: str, here: str) -> int:
        """Names of tables and columns are ours."""
        done = database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (here, len(before) + 1, len(before), before),
        )
        return done.rowcount

    def _is_here(self, place: str) -> bool:
        return place == self.artifacts or place.startswith(f"{self.artifacts}/")

    def _is_made(self) -> bool:
        if not self.file.is_file():
            return False
        with self._connected() as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
            return bool(found) and bool(database.execute("SELECT version_num FROM alembic_version").fetchall())

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=60)) as database:
            yield database

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _parent(place: str) -> str:
    """An experiment's artifacts lie in a folder of its name below the place."""
    return place.rsplit("/", 1)[0]
