"""Jobs on one machine, clusters and disks, as their own tests make them."""

from tests.cluster.conftest import make_cluster
from tests.e2e.conftest import make_job
from tests.volumes.conftest import disks

__all__ = ["disks", "make_cluster", "make_job"]
