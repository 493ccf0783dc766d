"""One job through RabbitMQ, with the ordinary commands: a coordinator and one worker, until the coordinator has ended.

python -m benchmarks.cluster BUCKETPULL SOURCE VOLUME STATE BROKER API_URL CDN_URL PROCESSES CONNECTIONS
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

KEY_SECONDS = 20.0
"""The coordinator makes the job's key within so long, or has ended."""


def main() -> None:
    """Run both and leave with the coordinator's exit code."""
    command, source, volume, state, broker, api, cdn, processes, connections = sys.argv[1:]
    shared = ["--broker", broker, "--job", "bench", "--quiet", "--api-url", api, "--cdn-url", cdn]
    coordinate = [command, "coordinate", source, *shared, "--state", state]
    coordinator = subprocess.Popen([*coordinate, "--concurrency", connections, "--processes", "1"])
    key = Path(state) / "job-key"
    deadline = time.monotonic() + KEY_SECONDS
    while not key.exists() and coordinator.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = subprocess.Popen(
        [command, "work", volume, *shared, "--job-key-file", str(key), "--processes", processes]
    )
    while coordinator.poll() is None:
        if worker.poll():
            coordinator.terminate()  # it would wait for another worker for ever
        time.sleep(0.02)
    worker.send_signal(signal.SIGINT)
    worker.wait(timeout=60)
    sys.exit(coordinator.returncode)


if __name__ == "__main__":
    main()
