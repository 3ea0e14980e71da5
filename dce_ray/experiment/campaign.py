"""The folder of a campaign: which searches belong together, and how each of them stands.

``results/campaigns/<name>/``::

    campaign.json   its searches, by their place seen from here, and what became of them
    report.html     the comparison of all of them, with its tables and figures
    log.txt         what Ray has to say between the searches

The searches lie where searches lie, and each can be looked at, and gone on with, by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import not_written, read_json, write_json

CAMPAIGN = "campaign.json"
FORMAT = 1
STATES = ("waiting", "stopped", "failed", "ended")
"""``stopped``: it did not come to its end, and nothing was wrong (Ctrl-C, the time budget)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One search of a campaign."""

    data: str
    """As the user named the data."""
    baseline: str
    path: str
    """Of the experiment folder, as seen from the campaign's: both are moved together."""
    state: str = "waiting"
    """One of :data:`STATES`."""
    reason: str = ""
    """Why it stopped or failed."""


@dataclass(frozen=True, slots=True)
class CampaignFolder:
    """All files of a campaign. Make one with :meth:`create` or :meth:`open`."""

    path: Path

    @staticmethod
    def holds(path: Path | str) -> bool:
        """Whether there is a campaign at ``path``."""
        return (Path(path) / CAMPAIGN).is_file()

    @classmethod
    def create(cls, path: Path, searches: Sequence[tuple[str, str, Path]]) -> CampaignFolder:
        """A new folder that names its searches: data, baseline and folder of each.

        Raises:
            SearchError: ``path`` exists already.
            OutputError: ``path`` cannot be written.
        """
        campaign = cls(path.resolve())
        try:
            campaign.path.mkdir(parents=True)
        except FileExistsError as fault:
            raise SearchError(f"{path} exists; give another name=, or go on with it: resume={path}") from fault
        except OSError as fault:
            raise not_written(campaign.path, fault) from fault
        campaign._write([Member(data, name, os.path.relpath(one, campaign.path)) for data, name, one in searches])
        return campaign

    @classmethod
    def open(cls, path: Path | str) -> CampaignFolder:
        """An existing folder.

        Raises:
            SearchError: it holds no campaign, one of another version, or one whose searches are not there.
        """
        campaign = cls(Path(path).resolve())
        if not cls.holds(path):
            raise SearchError(f"{path} is no campaign (it holds no {CAMPAIGN})")
        found = read_json(campaign.path / CAMPAIGN).get("format")
        if found != FORMAT:
            raise SearchError(f"{path}: a campaign in format {found}, this version reads format {FORMAT}")
        absent = [one.path for one in campaign.members if not (campaign.path / one.path / "config.json").is_file()]
        if absent:
            raise SearchError(
                f"{path}: {', '.join(absent)}: no experiment is there (any more); put the folder back, or take its "
                f"entry out of {CAMPAIGN}"
            )
        return campaign

    @property
    def name(self) -> str:
        """Of the campaign, and of each of its searches."""
        return self.path.name

    @property
    def log(self) -> Path:
        """What Ray has to say between the searches."""
        return self.path / "log.txt"

    @property
    def members(self) -> list[Member]:
        """The searches, in the order in which they run."""
        return [Member(**each) for each in read_json(self.path / CAMPAIGN)["searches"]]

    def search(self, member: Member) -> Path:
        """Folder of a search."""
        return (self.path / member.path).resolve()

    def note(self, member: Member, state: str, reason: str = "") -> None:
        """Write down how a search stands."""
        changed = replace(member, state=state, reason=reason)
        self._write([changed if one.path == member.path else one for one in self.members])

    def _write(self, members: Sequence[Member]) -> None:
        write_json(self.path / CAMPAIGN, {"format": FORMAT, "searches": [asdict(one) for one in members]})

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of this campaign.

        Raises:
            SearchError: another one works on it.
        """
        with ExperimentFolder(self.path).lock():
            yield


def searches_of(root: Path) -> list[Path]:
    """What a report looks through for ``root``: of a campaign its searches' folders, else the folder itself."""
    if not CampaignFolder.holds(root):
        return [root]
    campaign = CampaignFolder.open(root)
    return [campaign.search(one) for one in campaign.members]
