"""The feature store: one data set in one folder, memory-mapped, shared by all processes of a machine."""

from dce_ray.store.export import export_released
from dce_ray.store.per_video import import_per_video
from dce_ray.store.reader import FeatureStore, Instances, Intervals, open_store
from dce_ray.store.released import import_released
from dce_ray.store.report import Finding, ImportReport
from dce_ray.store.schema import Description
from dce_ray.store.writer import VideoAnnotation, write_store

__all__ = [
    "Description",
    "FeatureStore",
    "Finding",
    "ImportReport",
    "Instances",
    "Intervals",
    "VideoAnnotation",
    "export_released",
    "import_per_video",
    "import_released",
    "open_store",
    "write_store",
]
