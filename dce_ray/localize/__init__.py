"""From a network's outputs to scored segments: proposals, suppression, ambiguous intervals."""

from dce_ray.localize.ambiguous import drop_ambiguous, to_snippets
from dce_ray.localize.nms import suppress
from dce_ray.localize.proposals import Evidence, observe, propose, propose_from, propose_videos

__all__ = [
    "Evidence",
    "drop_ambiguous",
    "observe",
    "propose",
    "propose_from",
    "propose_videos",
    "suppress",
    "to_snippets",
]
