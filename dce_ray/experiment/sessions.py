"""Which commits and machines made a number, where a search was gone on with by others than it was begun by."""

from __future__ import annotations

import calendar
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dce_ray.experiment.record import RunRecord
from dce_ray.provenance import TIME

Session = Mapping[str, Any]
"""What :func:`dce_ray.provenance.environment` said of a process."""


def told(sessions: Sequence[Session], name: str) -> str:
    """What sessions say of one thing, each value once; empty where none says it.

    >>> told([{"commit": "a"}, {"commit": "b"}, {"commit": "a"}, {}], "commit")
    'a, b'
    """
    return ", ".join(dict.fromkeys(str(session[name]) for session in sessions if name in session))


def sessions_of(record: RunRecord, sessions: Sequence[Session]) -> list[Session]:
    """Those sessions that may have had a part in a run: it began before they ended, and ended after they began.

    Args:
        record: of the run; one that has not ended may still be gone on with.
        sessions: of its experiment, in their order. Each lasts until the next one begins; the first has always been.
    """
    began = [-math.inf, *(_unix(session) for session in sessions[1:])]
    ended = [*began[1:], math.inf]
    first = -math.inf if record.started is None else record.started
    last = math.inf if record.ended is None else record.ended
    return [
        session for session, start, end in zip(sessions, began, ended, strict=True) if first < end and start <= last
    ]


def _unix(session: Session) -> float:
    return float(calendar.timegm(time.strptime(session["started"], TIME)))
