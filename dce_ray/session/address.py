"""Which addresses of a Ray cluster a search can use."""

from __future__ import annotations


def address_fault(address: str | None) -> str | None:
    """Why a search cannot use an address; None where it can."""
    if address is None or not address.startswith("ray://"):
        return None
    return (
        "a search drives its runs from a process of the cluster, and Ray's client (ray://) only speaks to one from "
        "outside; run it on a machine of the cluster with ray.address=auto, or submit it as a job to the dashboard's "
        "address: ray job submit --address http://<head>:8265 -- python -m dce_ray.search ..."
    )
