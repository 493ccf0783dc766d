"""Requests to the coordinator of a job, through the broker."""

import secrets

from bucketpull import __version__
from bucketpull.transport.envelope import Session
from bucketpull.transport.job_key import OPERATOR, MachineKey
from bucketpull.transport.remote_query import Asker
from bucketpull.wiring.adapters import broker_url
from bucketpull.wiring.job_key import worker_key
from bucketpull.wiring.settings import Settings


def asker(settings: Settings) -> Asker:
    """Return one who asks, and may give orders if it has the job's own key; with a machine's key it may only look.

    Raises:
        ConfigError: Broker, job or key are not known.

    """
    url, job, key = broker_url(settings), settings.job_name(), worker_key(settings)
    machine = key.machine if isinstance(key, MachineKey) else OPERATOR
    return Asker(url, job, machine, Session(key, __version__, job, secrets.token_hex(8)))
