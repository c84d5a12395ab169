"""Takes events: `SECRET=whsec_… python3 receiver.py PORT FILE`. Prints each once, however often it comes."""

import base64, hashlib, hmac, json, os, sqlite3, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))
DB = sqlite3.connect(sys.argv[2])
DB.execute("CREATE TABLE IF NOT EXISTS told (event TEXT PRIMARY KEY, hour TEXT, call TEXT, seconds INTEGER)")


def compare(digest):
    rows = DB.execute("SELECT call, seconds FROM told WHERE hour = ? ORDER BY call", (digest["hour"][:13],))
    calls = dict(rows.fetchall())
    sha256 = hashlib.sha256("".join(f"{call}\n" for call in calls).encode()).hexdigest()
    ours = (len(calls), sum(calls.values()), sha256)
    return "complete" if ours == (digest["count"], digest["billable_s"], digest["sha256"]) else "differs"


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        name, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        body = self.rfile.read(int(self.headers["content-length"]))
        mac = hmac.digest(KEY, f"{name}.{sent_at}.".encode() + body, "sha256")
        good = "v1," + base64.b64encode(mac).decode() in self.headers["webhook-signature"].split(" ")
        if not good or abs(time.time() - int(sent_at)) > 300:
            return self.send_error(401)
        document = json.loads(body)
        for event in document.get("events", [document]):  # a batch, or one by itself
            cdr = event["data"].get("cdr", {"ended_at": "", "call_id": None, "talk_ms": 0})
            row = (event["id"], cdr["ended_at"][:13], cdr["call_id"], -(-cdr["talk_ms"] // 1000))
            if DB.execute("INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?)", row).rowcount:
                result = compare(event["data"]) if event["type"] == "digest.created" else ""
                print(event["type"], event["id"], result, flush=True)
        DB.commit()  # before the answer: what has been answered does not come again
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
