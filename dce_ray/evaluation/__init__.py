"""Detection and classification mAP, the tables, and detections in the ActivityNet format."""

from dce_ray.evaluation.checks import check_skipped
from dce_ray.evaluation.classification import classification_ap, video_scores
from dce_ray.evaluation.detection import detection_ap, mean_ap
from dce_ray.evaluation.export import export_detections, read_detections
from dce_ray.evaluation.inference import Evaluation, VideoOutputs, evaluate, run_network
from dce_ray.evaluation.presets import evaluation_preset
from dce_ray.evaluation.tables import MapTable, map_table
from dce_ray.evaluation.truth import ground_truth, may_be_read

__all__ = [
    "Evaluation",
    "MapTable",
    "VideoOutputs",
    "check_skipped",
    "classification_ap",
    "detection_ap",
    "evaluate",
    "evaluation_preset",
    "export_detections",
    "ground_truth",
    "map_table",
    "may_be_read",
    "mean_ap",
    "read_detections",
    "run_network",
    "video_scores",
]
