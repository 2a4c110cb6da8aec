"""What the retraining decision looks at, gathered before it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipelines.monitoring import Crossing, Monitored
from pipelines.retraining.gain import Gain
from pipelines.use_case import Partition
from pipelines.workspace import Champion, Decision


@dataclass(frozen=True)
class Attempt:
    """A training that the policy started for the present champion, and that brought no other: refused, failed or died.

    `ended` is when its outcome was written down; `gain` what was estimated before it started.
    """

    run: str
    ended: datetime
    outcome: str
    gain: Gain | None = None


@dataclass(frozen=True)
class State:
    """What the decision looks at.

    `windows` are those that the champion served, monitored with outcomes and not decided yet, oldest first; `history` all
    that is monitored up to then, of any version; `trained_until` is the end of the champion's training. `attempts` are
    those since it came or a person resumed, `started` when each training was that the policy ever started, both oldest
    first, and `took` how long each took. Without a `gain`, `no_gain` says why; `gains` are those of the windows before,
    since the champion came. `held` is a rollback that nobody lifted, `now` the local time.
    """

    champion: Champion | None = None
    champion_auc: float | None = None
    windows: tuple[Monitored, ...] = ()
    history: tuple[Monitored, ...] = ()
    served: timedelta = timedelta(0)
    new_labels: int = 0
    trained_until: date = date.min
    train_on: Partition | None = None
    under_way: str | None = None
    gain: Gain | None = None
    gains: tuple[Gain, ...] = ()
    no_gain: str = "its estimate failed, and the log says why"
    crossing: Crossing | None = None
    attempts: tuple[Attempt, ...] = ()
    started: tuple[datetime, ...] = ()
    took: tuple[timedelta, ...] = ()
    held: Decision | None = None
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
