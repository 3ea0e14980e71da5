"""What an import found, what it did about it, and what the user may do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Action = Literal["left out", "repaired", "kept"]
SHOWN = 3
"""Examples per kind of finding in the printed form; the JSON holds all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the source."""

    file: str
    """File of the released layout."""
    video: str
    """Video, or an empty text where the whole file is meant."""
    kind: str
    """What is wrong, the same text for the same kind of fault."""
    found: str
    """The value that was found."""
    action: Action
    """``left out``: the video is not in the store. ``repaired``: something in it was changed or dropped. ``kept``: odd,
    but published evaluations count it, so it stays as it is."""
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}, {self.video}" if self.video else self.file
        return f"{where}: {self.kind}: {self.found}"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Outcome of an import."""

    name: str
    target: Path | str
    """Folder of the store, or its address."""
    digest: str
    """Digest of the store."""
    counts: dict[str, int]
    """Of the store: videos, train, test, snippets, instances, ambiguous."""
    findings: tuple[Finding, ...]
    notices: tuple[str, ...]
    """What was decided for the data set as a whole and should be known."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Videos of the source that the store lacks."""
        return _videos(self.findings, "left out")

    @property
    def repaired(self) -> tuple[str, ...]:
        """Videos that were changed on the way, those left out apart."""
        gone = set(self.left_out)
        return tuple(video for video in _videos(self.findings, "repaired") if video not in gone)

    def __str__(self) -> str:
        counts = self.counts
        lines = [
            f"{self.name}: {counts['videos']} videos ({counts['train']} train, {counts['test']} test), "
            f"{counts['snippets']} snippets, {counts['instances']} instances -> {self.target}",
            f"  {len(self.repaired)} videos repaired, {len(self.left_out)} left out",
        ]
        return "\n".join(lines + [f"  {line}" for line in summarize(self.findings)])


def report_json(name: str, findings: Sequence[Finding], notices: Sequence[str], videos: int) -> str:
    """Text of ``import_report.json``: every finding, nothing shortened."""
    content = {
        "name": name,
        "videos_in_source": videos,
        "left_out": _videos(findings, "left out"),
        "repaired": _videos(findings, "repaired"),
        "notices": list(notices),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(content, indent=2) + "\n"


def summarize(findings: Sequence[Finding], shown: int = SHOWN) -> list[str]:
    """Findings by kind: how many, ``shown`` examples, what was done, and the remedy."""
    kinds: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.action, finding.kind, finding.remedy), []).append(finding)
    lines = []
    for (action, kind, remedy), found in kinds.items():
        lines.append(f"{action} ({len(found)}): {kind}; {remedy}")
        lines += [f"  {_where(finding)}: {finding.found}" for finding in found[:shown]]
        if len(found) > shown:
            lines.append(f"  ... and {len(found) - shown} more")
    return lines


def _where(finding: Finding) -> str:
    return f"{finding.file}, {finding.video}" if finding.video else finding.file


def _videos(findings: Sequence[Finding], action: Action) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.video for finding in findings if finding.action == action and finding.video))
