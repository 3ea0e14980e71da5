"""What a search came to; :mod:`dce_ray.verdict.text` says it in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json
from dce_ray.verdict.fairness import Fairness
from dce_ray.verdict.statistics import Estimate
from dce_ray.verdict.stein import UNTESTED
from dce_ray.verdict.videos import VideoInterval
from dce_ray.words import argument, runnable

UNCONFIRMED = "unconfirmed"
NONE_YET = "verdict: none yet, the search and its confirmation have not come to their end."
NAMED_FOLDER = re.compile(r"(?<= )(search|resume)=(?:\"[^\"]*\"|'[^']*'|\S+)")
"""Where a command names the folder of its search."""
NOTICEABLE = 1.0
"""True difference, in percentage points, that ``seeds_for_power`` is told for."""


@dataclass(frozen=True, slots=True)
class Against:
    """The second comparison: the winner and the published values, on the pairs of the first stage."""

    outcome: str = UNTESTED
    """``better``, ``undecided``, ``worse`` or ``not tested``."""
    setting: str | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    reason: str = ""
    """Why it was not tested."""


NOTHING_RESAMPLED = VideoInterval(None, None, "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a search; gains are differences of the ranking average on test, in percentage points."""

    outcome: str
    """``better``, ``undecided``, ``worse`` or :data:`UNCONFIRMED`."""
    sentence: str = ""
    """What it comes to, for people who read nothing else, in 40 words or fewer; it begins with ``verdict:``."""
    details: tuple[str, ...] = ()
    """What else is to be known, a sentence each; the last one says what ``command`` does, where there is one."""
    command: str = ""
    """What a user may run next, beginning with ``python``; empty where nothing is open. Shown by
    ``dce_ray.words.runnable``."""
    winner: str = ""
    """The winner's setting and point."""
    gain: float | None = None
    """Mean over the pairs of seeds, winner less plain baseline."""
    low: float | None = None
    """Of the 95 % interval over training seeds, as is ``high``."""
    high: float | None = None
    pairs: int = 0
    """Pairs of finished runs."""
    planned_pairs: int = 0
    """Pairs that were to be trained."""
    failed_pairs: int = 0
    """Those of them with a run that failed."""
    first_pairs: int = 0
    """Those of them that gave ``deviation``."""
    deviation: float | None = None
    """Of the paired differences of the first stage."""
    seeds_for_power: int | None = None
    """Seeds that would show a true difference of 1 with 80 % power, going by ``deviation``."""
    test_videos: VideoInterval = NOTHING_RESAMPLED
    """The other uncertainty: of the test videos."""
    published: Against = Against()
    expected_gain: float | None = None
    """What the selecting split let expect."""
    shrunken: bool = False
    """Whether that is a model's estimate; else it is the best single run's, which is optimistic."""
    search_runs: int = 0
    """Runs of the search, the plain baseline's included."""
    confirmation_runs: int = 0
    looks: int = 1
    """Which verdict of this search it is; the level of an interval holds for the first one."""
    reason: str = ""
    """Why there is no interval."""
    fairness: Fairness | None = None
    """What the plain baseline was given, where more than the method's scalars is searched."""

    @property
    def planned_comparison(self) -> Estimate | None:
        """Winner less plain baseline as a table's cell; None where nothing was compared."""
        if self.gain is None:
            return None
        width = None if self.high is None else self.high - self.gain
        return Estimate(self.gain, self.deviation, width, self.pairs)

    @property
    def text(self) -> str:
        """All of it as lines of a terminal: sentence, details, command."""
        return "\n".join([self.sentence, *self.details, *([runnable(self.command)] if self.command else [])])

    @property
    def written_command(self) -> str:
        """``command`` as it stands in files, to be pasted anywhere on this machine."""
        return runnable(self.command, anywhere=True)

    def to_mapping(self) -> dict[str, Any]:
        """For confirmation.json."""
        interval = None if self.low is None else [self.low, self.high]
        return asdict(self) | {"interval": interval}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Verdict:
        """What :meth:`to_mapping` wrote."""
        values = {key: value for key, value in mapping.items() if key != "interval"}
        values["test_videos"] = VideoInterval(**values["test_videos"])
        values["published"] = Against(**values["published"])
        values["details"] = tuple(values.get("details", ()))
        values["fairness"] = Fairness.from_mapping(values.get("fairness"))
        return cls(**values)

    @classmethod
    def read(cls, folder: ExperimentFolder) -> Verdict | None:
        """The verdict of a folder; None where the search has not come so far."""
        found = read_json(folder.confirmation).get("verdict") if folder.confirmation.is_file() else None
        if found is None:
            return None
        verdict = cls.from_mapping(found)
        search = folder.searched if "look" in folder.config else folder  # where it lies now: it may be a copy
        command = NAMED_FOLDER.sub(lambda found: argument(found[1], search.path), verdict.command)
        return replace(verdict, command=command)

    @classmethod
    def former(cls, folder: ExperimentFolder) -> list[Verdict]:
        """What a search had come to before it went on, the first one first; without those that confirmed nothing."""
        found = [read_json(file).get("verdict") for file in folder.former_looks]
        verdicts = [cls.from_mapping(one) for one in found if one is not None]
        return [one for one in verdicts if one.outcome != UNCONFIRMED]
