"""Tell a chat how a job ended: `bucketpull sync ... --on-end 'python3 tell.py dingtalk'`, with the chat's address in CHAT_URL.

The address of a chat's robot is a secret: whoever has it can write there. So it comes from the environment, not from an argument.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

MESSAGES = {
    "dingtalk": lambda text: {"msgtype": "text", "text": {"content": text}},
    "wecom": lambda text: {"msgtype": "text", "text": {"content": text}},
    "feishu": lambda text: {"msg_type": "text", "content": {"text": text}},
    "slack": lambda text: {"text": text},
}


def words(summary: dict) -> str:
    """Say in one line how the job ended."""
    where = summary["job"] if "state" in summary else f"{summary['job']} on {summary['machine']}"
    state = f"{where}: {summary.get('state', 'ended')} (exit {summary['exit']})"
    parts = (
        [f"{summary['stored']:,} stored", f"{summary['failed']:,} failed", size(summary["bytes"])]
        if "stored" in summary
        else []
    )
    error = [summary["error"]] if "error" in summary else []
    return "bucketpull: " + ", ".join([state, *parts, *error])


def size(count: float) -> str:
    """Write bytes with their unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def tell(chat: str, url: str, text: str) -> str:
    """Write to a chat; return why it was refused, or nothing."""
    body = json.dumps(MESSAGES[chat](text)).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - the operator's
    try:
        with urllib.request.urlopen(request, timeout=15) as response:  # noqa: S310
            answer = response.read()
    except urllib.error.URLError as error:
        return str(error.reason)
    # Slack answers "ok"; the others answer 200 with a code, which is 0 if all is well.
    fields = json.loads(answer) if answer.startswith(b"{") else {}
    refused = fields.get("errcode") or fields.get("code")
    return f"{chat}: {fields.get('errmsg') or fields.get('msg')}" if refused else ""


if __name__ == "__main__":
    summary = json.loads(Path(os.environ["BUCKETPULL_SUMMARY_FILE"]).read_text())
    sys.exit(tell(sys.argv[1], os.environ["CHAT_URL"], words(summary)) or 0)
