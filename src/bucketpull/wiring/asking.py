"""Questions to the coordinator of a job, through the broker."""

import secrets

from bucketpull import __version__
from bucketpull.transport.envelope import Correspondence
from bucketpull.transport.job_key import MachineKey
from bucketpull.transport.remote_query import Asker
from bucketpull.wiring.adapters import broker_url, machine_name
from bucketpull.wiring.job_key import worker_key
from bucketpull.wiring.settings import Settings


def asker(settings: Settings) -> Asker:
    """Return one who asks in the name of this machine.

    Raises:
        ConfigError: Broker, job or key are not known.

    """
    url, job, key = broker_url(settings), settings.job_name(), worker_key(settings)
    machine = key.machine if isinstance(key, MachineKey) else machine_name(settings)
    return Asker(url, job, machine, Correspondence(key, __version__, job, secrets.token_hex(8)))
