"""MLflow as a mirror of experiment folders: the folder is the truth, MLflow shows it.

``sync`` sends a folder, ``start_mirror`` keeps sending one while a search fills it. Start reading with ``content``
(what a folder says in MLflow's words) and ``upload`` (all that one MLflow run shall hold), then ``writer`` (how it is
sent once and only once, through ``run_store``) and ``mirror`` (the process that does so beside a search). What tracking
keeps in the folder is in ``state``. Nothing here imports mlflow before something is sent.
"""

from dce_ray.tracking.mirror import Mirror, start_mirror
from dce_ray.tracking.sync_report import SyncReport
from dce_ray.tracking.writer import sync

__all__ = ["Mirror", "SyncReport", "start_mirror", "sync"]
