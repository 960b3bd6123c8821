"""A worker in a few lines: answers /readyz on the address of its environment and ends on SIGTERM.

Arguments: `--not-ready` never is, `--die` ends with status 3 soon after its start, `--stubborn` ignores SIGTERM,
`--say NAME` prints a variable of its environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Probe(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if "--not-ready" in sys.argv else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> None:
    if "--stubborn" not in sys.argv:
        print("ends", flush=True)
        sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("starts", flush=True)
if "--say" in sys.argv:
    print("says", os.environ.get(sys.argv[sys.argv.index("--say") + 1]), flush=True)
if "--die" in sys.argv:
    time.sleep(0.1)
    sys.exit(3)
HTTPServer((os.environ["QUEUEWORKER_HEALTH_HOST"], int(os.environ["QUEUEWORKER_HEALTH_PORT"])), Probe).serve_forever()
