"""`rytask up` with stand-ins for the commands that it calls.

`fake_commands.py up PORT DATA_DIR` runs it; with another command this file is that command.
"""

import json
import os
import signal
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rytask.platform.engines import Plan, run_up
from rytask.platform.errors import CannotRun

say = partial(print, flush=True)


class Api(BaseHTTPRequestHandler):
    """Answers every request with the process id and the environment of this process."""

    def do_GET(self) -> None:
        body = json.dumps({"pid": os.getpid(), **os.environ}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class SharedPort(ThreadingHTTPServer):
    allow_reuse_port = True
    daemon_threads = True


def end(*_: object) -> None:
    say("drained")
    os._exit(0)


def up(port: str, data_dir: str) -> None:
    plan = Plan(
        port=int(port),
        data_dir=Path(data_dir),
        api=2,
        workers=1,
        demo=True,
        environ=os.environ,
        command=(sys.executable, __file__),
    )
    try:
        run_up(plan, say)
    except CannotRun as refusal:
        sys.exit(f"rytask: {refusal}")


def serve() -> None:
    if os.environ.get("FAILING_COMMAND") == "serve":
        sys.exit("no secret, no service")
    signal.signal(signal.SIGTERM, end)
    say("at work")
    if os.environ.get("WORKER"):
        signal.pause()
    SharedPort((os.environ["HOST"], int(os.environ["PORT"])), Api).serve_forever()


match sys.argv[1:]:
    case ["up", port, data_dir]:
        up(port, data_dir)
    case ["serve"]:
        serve()
    case [command]:
        say(f"{command} done")
        sys.exit(command == os.environ.get("FAILING_COMMAND"))
