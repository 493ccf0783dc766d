"""One job through RabbitMQ, with the ordinary commands: a coordinator and one worker, until the coordinator has ended.

python -m benchmarks.cluster BUCKETPULL SOURCE VOLUME STATE BROKER API_URL CDN_URL PROCESSES CONNECTIONS
"""

import signal
import subprocess
import sys


def main() -> None:
    """Run both and leave with the coordinator's exit code."""
    command, source, volume, state, broker, api, cdn, processes, connections = sys.argv[1:]
    shared = ["--broker", broker, "--job", "bench", "--quiet"]
    work = subprocess.Popen([command, "work", volume, *shared, "--processes", processes])
    coordinate = [
        command,
        "coordinate",
        source,
        *shared,
        "--state",
        state,
        "--api-url",
        api,
        "--cdn-url",
        cdn,
    ]
    code = subprocess.call([*coordinate, "--concurrency", connections, "--processes", "1"])
    work.send_signal(signal.SIGINT)
    work.wait(timeout=60)
    sys.exit(code)


if __name__ == "__main__":
    main()
