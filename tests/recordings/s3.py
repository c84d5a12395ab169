"""An S3 store that others wrote: OpenStack Swift with its S3 API, as clouds run it, in processes of its own.

Debian's `python3-swift`, run by Debian's Python. One copy of each object, on whatever disk the test has.
"""

import os
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha1
from hmac import digest
from pathlib import Path

import httpx

PYTHON = "/usr/bin/python3"
ACCESS_KEY, SECRET = "recordings:platform", "not-so-secret"
BUCKET = "calls"
_SERVE = "import sys; from swift.common.wsgi import run_wsgi; run_wsgi(sys.argv[1], sys.argv[2])"
_RINGS = (
    "import sys; from swift.common.ring import RingBuilder\n"
    "for name, port in zip(sys.argv[1::2], sys.argv[2::2]):\n"
    "    b = RingBuilder(2, 1, 0)\n"
    "    b.add_dev(dict(region=1, zone=1, ip='127.0.0.1', port=int(port), device='disk', weight=1.0))\n"
    "    b.rebalance(); b.get_ring().save(name)"
)
_DEFAULT = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_level = WARNING
log_udp_host = 127.0.0.1
log_udp_port = 9
"""
_STORAGE = "[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
_PROXY = """[pipeline:main]
pipeline = catch_errors cache s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
allow_no_owner = true
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_recordings_platform = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
"""


@dataclass
class Swift:
    """The store: where it listens, and its processes."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    def prepare(self) -> None:
        (self.folder / "devices" / "disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n"
            "[storage-policy:0]\nname = only\ndefault = yes\n"
        )
        rings = []
        for kind in ("account", "container", "object", "proxy"):
            self.ports[kind] = port = free_port()
            text = _DEFAULT.format(port=port, folder=self.folder)
            text += _PROXY.format(secret=SECRET) if kind == "proxy" else _STORAGE.format(kind=kind)
            (self.folder / f"{kind}.conf").write_text(text)
            if kind != "proxy":
                rings += [str(self.folder / f"{kind}.ring.gz"), str(port)]
        subprocess.run([PYTHON, "-c", _RINGS, *rings], check=True, env=self.environment())

    def environment(self) -> dict[str, str]:
        # The tests' own packages are for another Python.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**clean, "SWIFT_CONF": str(self.folder / "swift.conf")}

    def start(self, *kinds: str) -> None:
        for kind in kinds or ("account", "container", "object", "proxy"):
            with (self.folder / f"{kind}.log").open("ab") as log:
                command = [PYTHON, "-c", _PATCH + _SERVE, str(self.folder / f"{kind}.conf"), f"{kind}-server"]
                self.processes[kind] = subprocess.Popen(
                    command, stdout=log, stderr=log, env=self.environment(), start_new_session=True
                )
        for kind in kinds or self.ports:
            wait_for_port(self.ports[kind])

    def kill(self, *kinds: str) -> None:
        """As a machine that loses its power."""
        for kind in kinds or tuple(self.processes):
            process = self.processes.pop(kind)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self, kind: str, paused: bool) -> None:
        os.killpg(self.processes[kind].pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def make_bucket(self) -> None:
        assert self.request("PUT", f"/{BUCKET}").status_code in (200, 409)

    def request(self, method: str, path: str) -> httpx.Response:
        """A request signed by hand (AWS signature version 2), without the product's client."""
        date = formatdate(usegmt=True)
        signature = b64encode(
            digest(SECRET.encode(), f"{method}\n\n\n{date}\n{path}".encode(), sha1)
        ).decode()
        headers = {"Date": date, "Authorization": f"AWS {ACCESS_KEY}:{signature}"}
        return httpx.request(method, self.endpoint + path, headers=headers, timeout=30)

    def files(self) -> bytes:
        """Everything that lies on its disks."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("devices/**/*") if path.is_file())


#: Swift looks for its configuration in /etc only
_PATCH = (
    "import os, swift.common.utils as u; u.SWIFT_CONF_FILE = os.environ['SWIFT_CONF']; "
    "import swift.common.storage_policy as p; p.SWIFT_CONF_FILE = u.SWIFT_CONF_FILE; "
    "p.reload_storage_policies(); "
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while True:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), 1).close()
        assert time.monotonic() < deadline, f"nobody listens on {port}"
        time.sleep(0.05)


@contextmanager
def swift(folder: Path) -> Iterator[Swift]:
    """A running store with an empty bucket."""
    store = Swift(folder)
    store.prepare()
    try:
        store.start()
        store.make_bucket()
        yield store
    finally:
        store.kill()
