"""Loss terms as free functions of tensors; a baseline's objective weighs them.

No function waits for the device, loops over videos or knows the network that made its tensors.
"""

from dce_ray.losses.attention import guide_gap, mutual, norm
from dce_ray.losses.consistency import feature_consistency
from dce_ray.losses.contrastive import contrastive
from dce_ray.losses.evidence import evidential_exp, evidential_relu, uncertainty_weights, video_evidence_logits
from dce_ray.losses.mil import complementary, mil, suppress

__all__ = [
    "complementary",
    "contrastive",
    "evidential_exp",
    "evidential_relu",
    "feature_consistency",
    "guide_gap",
    "mil",
    "mutual",
    "norm",
    "suppress",
    "uncertainty_weights",
    "video_evidence_logits",
]
