"""The one configuration file: TOML, every key with a default that works on one machine.

`Settings.load(path)` reads it; relative paths are taken from the file's own folder.
"""

import os
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

KEY_VARIABLE = "XIAOHAO_MASTER_KEY"
_OLD = re.compile(r"\.[0-9a-f]{8}$")


class SettingsError(Exception):
    """The configuration file is missing, is not TOML, or holds a key or value that is not known."""


class Database(msgspec.Struct, forbid_unknown_fields=True):
    """Where the one SQL database is: `sqlite:///path` or `postgresql://user@host/name`."""

    url: str = "sqlite:///data/xiaohao.db"


class Secrets(msgspec.Struct, forbid_unknown_fields=True):
    """The master key: 64 hex digits in the variable XIAOHAO_MASTER_KEY, else in this file."""

    master_key_file: str = "data/master.key"


class Edge(msgspec.Struct, forbid_unknown_fields=True):
    """Kamailio: where it listens for carriers and for the switch."""

    id: str = "edge1"
    #: `udp:address:port`, `tcp:address:port` or `tls:address:port`
    listen: list[str] = msgspec.field(default_factory=lambda: ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"])
    #: address that carriers see, where it is not the one listened on (NAT); of IPv4 and of IPv6 one each
    advertise: str | list[str] | None = None
    tls_certificate: str | None = None
    tls_private_key: str | None = None
    #: certificates of those whose signature a carrier's certificate must bear; None = any will do
    tls_authorities: str | None = None
    evapi: str = "127.0.0.1:8448"
    #: JSON-RPC over UDP, loopback only
    rpc: str = "127.0.0.1:8449"
    workers: int = 4
    #: for what Kamailio keeps of calls; taken from the system as it is used, 37 KiB a call for some seconds
    shared_memory_mb: int = 1024
    #: new calls a second beyond which a call is refused with 503 and Retry-After; 0 = no fixed limit
    calls_per_second: int = 0
    #: calls that wait for the switch's decision at once, beyond which a new one is refused
    undecided_calls: int = 200
    #: seconds between the OPTIONS that ask a trunk's targets whether they are there
    probe_s: int = 10
    #: seconds that an address stays banned after it sent what no carrier sends
    ban_s: int = 300


class Media(msgspec.Struct, forbid_unknown_fields=True):
    """rtpengine: relays and records RTP in user space."""

    #: one address of this machine, or one of IPv4 and one of IPv6
    interface: str | list[str] = "127.0.0.1"
    #: address that carriers see, where it is not that of the interface (NAT); of IPv4 and of IPv6 one each
    advertise: str | list[str] | None = None
    port_min: int = 30000
    port_max: int = 40000
    #: its control socket (ng protocol)
    ng: str = "127.0.0.1:2223"
    threads: int = 2
    #: a talking call without any RTP from either side for so long is ended
    dead_after_s: int = 60
    #: the same while the call is on hold
    dead_on_hold_after_s: int = 3600
    #: take audio from other addresses than a carrier's SDP names, for carriers behind NAT
    learn_addresses: bool = False


class Calls(msgspec.Struct, forbid_unknown_fields=True):
    """Limits of every call."""

    decision_ms: int = 2000
    #: the callee rings this long at the most
    ring_s: int = 60
    #: a trunk that says 100 Trying and nothing more for so long has failed
    progress_s: int = 20
    #: a trunk that does not answer an INVITE at all for so long has failed
    trunk_silence_ms: int = 3000
    max_duration_s: int = 7200
    #: days for which CDRs are kept, unless a customer has days of its own; 0 = for ever
    cdr_days: int = 0
    #: ISO 3166 region whose national formats callers' numbers are read in
    region: str = "CN"


class Announcements(msgspec.Struct, forbid_unknown_fields=True):
    """What callers hear beside each other."""

    #: whether anything is said at all; where not, a refused call ends at once
    on: bool = True
    #: SIP over UDP between the edge and the announcer, which lives in the switch: for nobody else
    listen: str = "127.0.0.1:5092"
    edge: str = "127.0.0.1:5091"
    #: loopback UDP port on which rtpengine tells of keys that are pressed
    keys: str = "127.0.0.1:5093"
    #: both sides are told so many seconds before the longest duration is over
    warn_s: int = 60


class Routing(msgspec.Struct, forbid_unknown_fields=True):
    """What a customer's own routing may have called. Prefixes of canonical numbers, as `+86`."""

    #: only numbers that begin with one of these are called
    callee_prefixes: list[str] = msgspec.field(default_factory=lambda: ["+86"])
    #: and none that begins with one of these
    forbidden_prefixes: list[str] = msgspec.field(default_factory=list)
    #: so many callers of one customer may wait at once until it says whom to call, on each switch
    waiting_calls: int = 100
    #: and so long at the most: networks end a call that is not answered for some minutes
    longest_wait_s: int = 120


class Bindings(msgspec.Struct, forbid_unknown_fields=True):
    """What a customer may bind."""

    #: so many numbers may be one person's X at a time; 0 = no limit
    most_x: int = 0


class ObjectStore(msgspec.Struct, forbid_unknown_fields=True):
    """An S3-compatible store for recordings; without a bucket there is none."""

    bucket: str = ""
    #: in front of every object's name
    prefix: str = ""
    #: `https://host:port` of a store that is not Amazon's
    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    #: a file with the secret of that key
    secret_file: str = "data/object_store.secret"  # noqa: S105 - where it is, not what it is

    def secret(self) -> str:
        """The secret access key. Raises SettingsError."""
        try:
            return Path(self.secret_file).read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"object_store.secret_file: {error.strerror}") from error


class Recording(msgspec.Struct, forbid_unknown_fields=True):
    """What becomes of a recorded call."""

    format: Literal["wav", "mp3", "opus"] = "wav"
    #: folder of finished recordings, where they are not in an S3 store
    folder: str = "data/recordings"
    #: days after a call's end at which its recording is deleted, where no rule says otherwise; 0 = never
    keep_days: int = 180
    #: calls are no longer recorded where less of the captures' disk is free
    least_free_mb: int = 512


class Prompts(msgspec.Struct, forbid_unknown_fields=True):
    """What callers hear."""

    #: folder of the default set, where it was not made at installation, and of what customers uploaded
    folder: str = "data/prompts"


class Web(msgspec.Struct, forbid_unknown_fields=True):
    """The HTTP API."""

    listen: str = "127.0.0.1:8080"


class Worker(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries and conversions."""

    #: loopback UDP port on which the worker is woken; it also looks by itself twice a second
    wake: str = "127.0.0.1:8450"
    #: /metrics and /healthz of the worker
    listen: str = "127.0.0.1:8081"
    #: a pool that will be exhausted within so many days is reported to its customer, once a day
    pool_warning_days: float = 14.0


class Notifications(msgspec.Struct, forbid_unknown_fields=True):
    """What customers are told, and for how long it is kept."""

    #: seconds between the tries of a delivery; the last one repeats until it is given up
    retry_s: list[int] = msgspec.field(default_factory=lambda: [10, 30, 60, 120, 180, 600])
    #: an event that could not be delivered for so many hours is dead
    give_up_after_h: float = 24.0
    #: a customer's endpoint must answer within so many seconds
    timeout_s: float = 5.0
    #: POSTs to one endpoint at the same time; one that does not answer gets fewer, down to one
    at_once: int = 32
    #: whether customers' endpoints may have private, loopback or link-local addresses
    allow_private_urls: bool = False
    #: days for which events can be read and sent again
    retention_days: int = 30
    #: seconds after the end of an hour at which its digest is made
    digest_after_s: int = 300


class Switch(msgspec.Struct, forbid_unknown_fields=True):
    """The switch's own HTTP listener: /healthz, /metrics, and rtpengine's word that media died."""

    listen: str = "127.0.0.1:8082"


class Billing(msgspec.Struct, forbid_unknown_fields=True):
    """Invoices."""

    #: who sends them: name and address as printed, several lines if need be
    seller: str = ""
    #: hours after a month's end at which it is closed and its invoices are drafted
    close_after_h: float = 6.0


class Trace(msgspec.Struct, forbid_unknown_fields=True):
    """The path of a call, and its SIP messages."""

    #: whether the edge hands over a copy of every SIP message
    sip: bool = False
    #: UDP address where the worker takes them (HEP version 3): loopback or a private network only
    listen: str = "127.0.0.1:8451"
    #: of so large a part of the calls they are kept
    sample: float = 1.0
    #: days for which paths and messages are kept
    retention_days: int = 30
    #: UDP address of a Homer server that gets a copy of what is kept
    homer: str | None = None


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    #: generated configuration, sockets, pid files, captures, logs
    runtime_folder: str = "run"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    database: Database = msgspec.field(default_factory=Database)
    secrets: Secrets = msgspec.field(default_factory=Secrets)
    edge: Edge = msgspec.field(default_factory=Edge)
    media: Media = msgspec.field(default_factory=Media)
    calls: Calls = msgspec.field(default_factory=Calls)
    announcements: Announcements = msgspec.field(default_factory=Announcements)
    bindings: Bindings = msgspec.field(default_factory=Bindings)
    routing: Routing = msgspec.field(default_factory=Routing)
    recording: Recording = msgspec.field(default_factory=Recording)
    prompts: Prompts = msgspec.field(default_factory=Prompts)
    object_store: ObjectStore = msgspec.field(default_factory=ObjectStore)
    web: Web = msgspec.field(default_factory=Web)
    worker: Worker = msgspec.field(default_factory=Worker)
    notifications: Notifications = msgspec.field(default_factory=Notifications)
    switch: Switch = msgspec.field(default_factory=Switch)
    billing: Billing = msgspec.field(default_factory=Billing)
    trace: Trace = msgspec.field(default_factory=Trace)

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Read a configuration file. Raises SettingsError with the key that is wrong."""
        try:
            raw = tomllib.loads(path.read_text("utf-8-sig"))  # some editors put a mark in front
            settings = msgspec.convert(raw, cls)
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path.name}: is not UTF-8 (byte {error.start + 1})") from error
        except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise SettingsError(f"{path.name}: {error}") from error
        settings._anchor(path.resolve().parent)
        return settings

    def _anchor(self, folder: Path) -> None:
        self.runtime_folder = str(folder / self.runtime_folder)
        self.secrets.master_key_file = str(folder / self.secrets.master_key_file)
        self.recording.folder = str(folder / self.recording.folder)
        self.prompts.folder = str(folder / self.prompts.folder)
        self.object_store.secret_file = str(folder / self.object_store.secret_file)
        scheme, _, place = self.database.url.partition(":///")
        if scheme == "sqlite":
            self.database.url = f"sqlite:///{folder / place}"
        for name in ("tls_certificate", "tls_private_key", "tls_authorities"):
            if value := getattr(self.edge, name):
                setattr(self.edge, name, str(folder / value))

    @property
    def captures_folder(self) -> Path:
        """Where rtpengine writes what it records: `pcaps/`, `metadata/`, `tmp/`."""
        return Path(self.runtime_folder) / "captures"

    def master_key(self) -> bytes:
        """The master key from the environment, or from its file.

        A file that is missing is made (mode 600) while the database has no key.

        Raises SettingsError, OSError.
        """
        if text := os.environ.get(KEY_VARIABLE):
            return _key_from(text, KEY_VARIABLE)
        path = Path(self.secrets.master_key_file)
        if not path.exists():
            self._check_no_key_is_lost(path)
            with suppress(FileExistsError):  # another process of the platform was quicker: its key is the key
                write_key(path, os.urandom(32))
        return read_key(path)

    def _check_no_key_is_lost(self, path: Path) -> None:
        """A new key beside a database that was sealed with another would open nothing, and hide the loss."""
        # Whoever only reads settings needs no driver of a database.
        from xiaohao.database.errors import DatabaseUnavailable  # noqa: PLC0415
        from xiaohao.database.fence import key_marks  # noqa: PLC0415

        try:
            known = key_marks(self.database.url)
        except DatabaseUnavailable as error:
            raise SettingsError(f"there is no master key {path}, and {error}: no other key is made") from None
        if known and not path.exists():  # another process has just made the key, and the database its own
            ids = ", ".join(sorted(f"{key_id:08x}" for key_id in known.values()))
            raise SettingsError(
                f"there is no master key {path}, but the database is sealed with the key {ids}: "
                "put that key back; no other key is made"
            )

    def old_master_keys(self) -> list[bytes]:
        """Keys that were replaced and lie beside the key's file, e.g. as `master.key.0a1b2c3d`."""
        path = Path(self.secrets.master_key_file)
        return [read_key(old) for old in sorted(path.parent.glob(f"{path.name}.*")) if _OLD.search(old.name)]


def write_key(path: Path, key: bytes) -> None:
    """Make a key's file, for nobody else to read. It is on the disk when this returns.

    Raises FileExistsError where there is one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_key(path: Path) -> bytes:
    """The key in a file. Raises SettingsError, OSError."""
    return _key_from(path.read_text(), path.name)


def _key_from(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise SettingsError(f"{source}: the master key must be 64 hex digits") from error
    if len(key) != 32:
        raise SettingsError(f"{source}: the master key must be 64 hex digits")
    return key


def host_port(address: str) -> tuple[str, int]:
    """Split `host:port`. An IPv6 address stands in brackets there, and is given without.

    Raises SettingsError.
    """
    host, _, port = address.rpartition(":")
    in_brackets = host.startswith("[") and host.endswith("]")
    if not host or not port.isdigit() or (":" in host and not in_brackets):
        raise SettingsError(f"{address!r} is not of the form host:port")
    return host[1:-1] if in_brackets else host, int(port)
