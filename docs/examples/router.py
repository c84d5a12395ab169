"""Decides calls: `SECRET=whsec_… python3 router.py PORT FILE`, lines of `caller dialled callee display`, or
`caller dialled wait`: that caller hears music until another line stands there.
"""

import base64, hmac, json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WAYS = Path(sys.argv[2])
KEY = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))


def decide(caller, dialled):
    lines = [line.split() for line in WAYS.read_text().splitlines()]  # put your database here
    ways = {(line[0], line[1]): line[2:] for line in lines if len(line) in (3, 4)}
    if (caller, dialled) not in ways:
        return {"action": "refuse", "reason": "unknown_number"}
    if ways[caller, dialled] == ["wait"]:  # you are asked again in three seconds
        return {"action": "queue", "queue": "drivers", "retry_after_s": 3, "max_wait_s": 90}
    callee, display = ways[caller, dialled]
    return {"action": "connect", "callee": callee, "display": display}


class Router(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the connection is kept: the next call is asked about sooner
    disable_nagle_algorithm = True

    def do_POST(self):
        name, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        body = self.rfile.read(int(self.headers["content-length"]))
        mac = hmac.digest(KEY, f"{name}.{sent_at}.".encode() + body, "sha256")
        good = "v1," + base64.b64encode(mac).decode() in self.headers["webhook-signature"].split(" ")
        if not good or abs(time.time() - int(sent_at)) > 300:
            return self.send_error(401)
        asked = json.loads(body)["data"]
        answer = json.dumps(decide(asked["caller"], asked["dialled"])).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass  # what it would write holds nothing secret, but nobody reads it either


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Router).serve_forever()
