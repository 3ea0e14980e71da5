"""What the model says of the noise and of the scalars, in numbers and words for tables and captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.points.standing import Standing
from dce_ray.report.importance import Importance
from dce_ray.report.point_table import PointRow
from dce_ray.words import counted

FEW_POINTS = 8
"""With fewer points, what is between them is hardly told from noise."""


@dataclass(frozen=True, slots=True)
class Component:
    """One of the independent parts that a run's score is made of."""

    name: str
    meaning: str
    deviation: float
    """Standard deviation, a fraction of mAP."""
    share: float | None
    """Of the variance of a single run of a point, in [0, 1]; None for what such a run has not."""
    signal: bool = False
    """Whether this is what the search looks for; all else is in its way."""


def components_of_noise(standing: Standing) -> list[Component]:
    """The components of a run of a point, then the plain baseline's own noise where it has runs."""
    shares = standing.posterior.shares
    parts = [
        ("between points", "settings drawn at random from the space: what is searched for", shares.points, True),
        ("fold", "which videos are held out, the same for all points: cancels in comparisons", shares.fold, False),
        ("seed", "which seed trains on a fold, the same for all points: cancels in comparisons", shares.seed, False),
        ("point x fold", "what a fold does to one point beyond that", shares.point_fold, False),
        ("noise", "of a single run, beyond all of these", shares.noise, False),
    ]
    total = sum(deviation**2 for _, _, deviation, _ in parts)
    found = [
        Component(name, meaning, deviation, deviation**2 / total if total else None, signal)
        for name, meaning, deviation, signal in parts
    ]
    if standing.posterior.plain is not None:
        meaning = "of a single run of it, in the place of the line above"
        found.append(Component("noise, plain baseline", meaning, shares.noise_plain, None))
    return found


def signal_sentence(standing: Standing) -> str:
    """How far a single run can be trusted, in a plain sentence."""
    share = standing.posterior.shares.signal_share
    parts = components_of_noise(standing)
    whole = next(one.share or 0.0 for one in parts if one.signal)
    return (
        f"Where points are compared, {100 * share:.0f} % is between points of what differs from run to run, and the "
        f"rest is noise; what fold and seed do to all points alike cancels there. Of a run's whole variance, fold and "
        f"seed included, it is {100 * whole:.0f} %: that is the share in the table and the figure."
    )


def counts_text(standing: Standing) -> str:
    """From how much the components were estimated, in a sentence."""
    points, plain, arm = standing.posterior.points, standing.posterior.plain, standing.plain_arm
    runs = sum(one.runs for one in points)
    repeated = sum(one.runs > 1 for one in points)
    text = f"Estimated from {runs} runs of {len(points)} points ({repeated} with several runs)"
    if plain is not None or arm is None:
        text += f" and {plain.runs if plain else 0} of the plain baseline"
    few = len(points) < FEW_POINTS or repeated < FEW_POINTS / 2
    text += f"{': so few say little of the components' if few else ''}."
    if arm is None:
        return text
    own = f"{counted(sum(one.runs for one in arm.points), 'run')} of {counted(len(arm.points), 'point')}"
    return f"{text} The plain baseline's search of its own ({own}) has its own model."


def model_importance(standing: Standing | None, ranges: Mapping[str, ScalarRange]) -> Importance:
    """Share of the model's surface that each searched scalar explains, with all interactions; or why there is none."""
    aside = ", ".join(name for name in SCALARS if name not in ranges or ranges[name].constant)
    text = f" Not searched: {aside}." if aside else ""
    if standing is None or not standing.posterior.points:
        return Importance({}, f"No run of a point has ended yet.{text}")
    shares = standing.posterior.sensitivity()
    if shares is None or not any(shares.values()):
        return Importance({}, f"The model's mean varies less over the space than it is uncertain.{text}")
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(ordered, f"Interactions count for each parameter that is in them.{text}")


def scalar_rows(
    standing: Standing, best: PointRow, ranges: Mapping[str, ScalarRange], importance: Importance
) -> list[tuple[str, str, float | None, float | None, str]]:
    """For each searched scalar: name, range, the best point's value, its share, and where no difference is seen."""
    rows = []
    for name, item in ranges.items():
        if item.constant:
            continue
        low, high = standing.posterior.flat_range(name)
        whole = item.to_unit(low) < 1e-9 and item.to_unit(high) > 1 - 1e-9
        flat = "the whole range" if whole else f"{low:.3g} to {high:.3g}"
        text = f"{item.low:g} to {item.high:g}{' (log)' if item.log else ''}"
        rows.append((name, text, best.parameter(name), importance.shares.get(name), flat))
    return rows
