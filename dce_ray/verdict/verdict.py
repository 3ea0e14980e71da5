"""What a search came to, and the one sentence that says it to a reader who reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json
from dce_ray.verdict.fairness import Fairness
from dce_ray.verdict.statistics import Estimate
from dce_ray.verdict.stein import BETTER, UNDECIDED, UNTESTED, WORSE
from dce_ray.verdict.videos import VideoInterval

UNCONFIRMED = "unconfirmed"
NONE_YET = "verdict: none yet, the search and its confirmation have not come to their end."
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
    """All of this for people; it begins with ``verdict:``."""
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
        values["fairness"] = Fairness.from_mapping(values.get("fairness"))
        return cls(**values)

    @classmethod
    def read(cls, folder: ExperimentFolder) -> Verdict | None:
        """The verdict of a folder; None where the search has not come so far."""
        found = read_json(folder.confirmation).get("verdict") if folder.confirmation.is_file() else None
        return None if found is None else cls.from_mapping(found)


def sentence_of(verdict: Verdict, config: Mapping[str, Any], folder: Path) -> str:
    """One sentence that begins with ``verdict:`` and the outcome.

    Args:
        verdict: all but its sentence.
        config: of the search.
        folder: the experiment, for the command that goes on with it.
    """
    parts = _unconfirmed(verdict, config, folder) if verdict.outcome == UNCONFIRMED else _confirmed(verdict, config)
    return f"verdict: {verdict.outcome}: {'; '.join(part for part in parts if part)}."


def _unconfirmed(verdict: Verdict, config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if config["protocol"] == "paper":
        yield f"{verdict.winner} was not trained anew with seeds of its own (confirm.seeds=0)"
    else:
        yield f"{verdict.winner} was not measured on test (confirm.seeds=0)"
    yield _expected(verdict, config)
    yield f"{_runs(verdict)}"
    yield _optimistic(config)
    most = " confirm.max_seeds=5" if config["confirm"].get("max_seeds", 5) < 5 else ""
    yield f"to confirm it: python -m dce_ray.search resume={folder} confirm.seeds=5{most}"


def _confirmed(verdict: Verdict, config: Mapping[str, Any]) -> Iterator[str]:
    if verdict.gain is None:
        yield f"{verdict.winner} could not be compared with the plain baseline on test: {verdict.reason}"
    else:
        yield _first(verdict)
    if verdict.fairness is not None:
        yield verdict.fairness.text
    if verdict.test_videos.low is not None and verdict.test_videos.high is not None:
        covered = "that interval covers training seeds alone, and " if verdict.low is not None else ""
        interval = _interval(verdict.test_videos.low, verdict.test_videos.high)
        yield f"{covered}other test videos (these networks, {verdict.test_videos.note}) give {interval}"
    elif verdict.test_videos.note:
        yield f"the uncertainty of the test videos is not covered: {verdict.test_videos.note}"
    if verdict.deviation == 0:
        yield "the two settings scored the same with every seed, as they do where neither component acts"
    elif verdict.outcome == UNDECIDED and verdict.seeds_for_power is not None:
        yield f"a true difference of 1 point would take {_count(verdict.seeds_for_power, 'seed')} for 80 % power"
    if verdict.gain is not None:
        yield _against(verdict)
    yield _expected(verdict, config)
    yield _runs(verdict)
    if verdict.looks > 1:
        yield (
            f"this search has looked at test {verdict.looks} times, with another winner each time: 95 % held for the "
            f"first look alone; a new search says more"
        )
    yield _optimistic(config)


def _first(verdict: Verdict) -> str:
    claim = {
        BETTER: "beats the plain baseline on test",
        WORSE: "is worse than the plain baseline on test",
        UNDECIDED: "is not shown to differ from the plain baseline on test",
    }[verdict.outcome]
    failed = verdict.planned_pairs - verdict.pairs
    pairs = _count(verdict.pairs, "pair") + " of seeds" + (f", {failed} more failed" if failed else "")
    if verdict.low is None or verdict.high is None:
        return f"{verdict.winner} {claim}, {verdict.gain:+.2f} mAP without an interval: {verdict.reason}"
    return (
        f"{verdict.winner} {claim}, {verdict.gain:+.2f} mAP, 95 % interval {_interval(verdict.low, verdict.high)} "
        f"({pairs})"
    )


def _against(verdict: Verdict) -> str:
    other = verdict.published
    if other.outcome == UNTESTED:
        return f"against the published values not tested{': ' if other.reason else ''}{other.reason}"
    assert other.gain is not None, "what was tested has a gain"
    assert other.low is not None, "and an interval"
    assert other.high is not None, "and both its ends"
    claim = {
        BETTER: "tuning beat the published values",
        WORSE: "tuning did worse than the published values",
        UNDECIDED: "whether tuning beat the published values is undecided",
    }[other.outcome]
    return f"{claim} ({other.setting}), {other.gain:+.2f} {_interval(other.low, other.high)} ({other.pairs} pairs)"


def _expected(verdict: Verdict, config: Mapping[str, Any]) -> str:
    """What the selecting split let expect; shrunken means with a model, single runs without."""
    if verdict.expected_gain is None:
        return ""
    split = "test" if config["protocol"] == "paper" else "holdout"
    measure = "classification mAP" if config["metric"] == "classification" else "mAP"
    if verdict.shrunken:
        return f"the search's model expected {verdict.expected_gain:+.2f} {measure} on {split}"
    return f"single runs on {split} promised {verdict.expected_gain:+.2f} {measure}, which is optimistic"


def _runs(verdict: Verdict) -> str:
    confirmed = f" and {verdict.confirmation_runs} of the confirmation" if verdict.confirmation_runs else ""
    return f"{_count(verdict.search_runs, 'run')} of the search{confirmed}"


def _optimistic(config: Mapping[str, Any]) -> str:
    if config["protocol"] != "paper":
        return ""
    return "optimistic, since selection has seen the test set (protocol=paper)"


def _interval(low: float, high: float) -> str:
    return f"[{low:+.2f}, {high:+.2f}]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
