"""Kamailio as a child process: its generated configuration and its command line."""

import hashlib
import os
import shutil
from importlib import resources
from pathlib import Path

from xiaohao.edge.addresses import every_listener, listeners
from xiaohao.edge.q850 import USUAL_CAUSES
from xiaohao.edge.wire import BOTH_WAYS, LAST_CSEQ
from xiaohao.routing.model import LONGEST_WAIT_S
from xiaohao.secrecy import Vault, vault_of
from xiaohao.settings import Settings, host_port
from xiaohao.trunks.model import SIX

#: the parts of kamailio.cfg, in the order of a call's life
_PARTS = (
    "engine",
    "door",
    "decision",
    "targets",
    "announcer",
    "answered",
    "ends",
    "dialogs",
    "messages",
    "media",
)

#: where distributions put Kamailio's modules
_MODULE_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu/kamailio/modules",
    "/usr/lib/aarch64-linux-gnu/kamailio/modules",
    "/usr/lib64/kamailio/modules",
    "/usr/lib/kamailio/modules",
    "/usr/local/lib64/kamailio/modules",
)

#: what rtpengine must change in every SDP, so that nothing of its writer is left
SDP_FLAGS = (
    "replace-origin replace-session-connection replace-session-name ICE=remove generate-RTCP strict-source"
)

_CODECS = (
    "PCM[AU]|G72[239]|G7221|G726-(16|24|32|40)|AAL2-G726-(16|24|32|40)|opus|AMR|AMR-WB|EVS|iLBC|speex|GSM|GSM-EFR"
    "|L16|SILK|CN|telephone-event"
)
#: what an attribute of an SDP may say, in POSIX's words; any other is dropped
_SDP_ATTRIBUTES = "|".join(
    (
        "sendrecv|sendonly|recvonly|inactive",
        "(max)?ptime:[0-9]{1,3}",
        "rtcp:[0-9]{1,5}",
        rf"rtpmap:[0-9]{{1,3}} ({_CODECS})\/[0-9]{{4,6}}(\/[0-9])?",
        "fmtp:[0-9]{1,3} ([0-9]{1,3}([,-][0-9]{1,3})*"
        "|([a-z-]{2,24}=(-?[0-9]{1,7}([.,-][0-9.]{1,5})*|[a-z]{2,4}(-[a-z]{2,4})?)[; ]*)+)",
        r"crypto:[0-9]{1,9} [A-Z0-9_]{1,40} inline:[A-Z0-9+\/=|:^]{1,120}",
    )
)

#: bytes for SIP that waits to be read, where the system allows so many: half a second of a high load
_RECEIVE_BUFFER = 1_048_576

#: calls a second that get a CDR although they are refused for being too many
_REFUSALS_TOLD = 5

#: the announcer says every second that it is there; a caller who listens to one that has died is let go
_ANNOUNCER_SILENT_MS = 3500
#: what callers hear in one call before the answer, and after the callee has not answered
_SPOKEN_S = 300

#: a BYE is sent again for so long: whoever misses it stays connected with nobody, and is charged for it.
#: After the 32 s of RFC 3261 (Timer F) the sender of one that we pass on would not hear the answer any more
_BYE_PATIENCE_MS = 20_000

#: the switch says every second that it is there; after so long without a word no call is given to it
_SWITCH_SILENT_S = 3

# at its own debug level Kamailio writes messages down, real numbers and all
_LOG_LEVELS = {"debug": 1, "info": 0, "warning": 0, "error": -1}


#: which address of a host that has several (core parameter dns_cache_flags)
_IPV4_FIRST, _IPV6_FIRST = 0, 4


class EngineMissing(Exception):
    """An engine is not installed; the text says which Debian package brings it."""


def folder(settings: Settings) -> Path:
    """Where the generated configuration stands."""
    return Path(settings.runtime_folder) / "edge"


def modules_folder() -> str:
    """Kamailio's module folder. Raises EngineMissing."""
    for candidate in _MODULE_FOLDERS:
        if Path(candidate, "evapi.so").exists():
            return candidate
    raise EngineMissing("Kamailio's modules are missing: apt-get install kamailio kamailio-extra-modules")


def secret(settings: Settings) -> str:
    """What makes the tags that one side sees unpredictable for the other; the same after a restart."""
    return hashlib.sha256(b"xiaohao tags" + settings.master_key()).hexdigest()[:32]


def probe_user(settings: Settings) -> str:
    """What the switch names in the requests with which it asks how long a request waits at the edge."""
    return hashlib.sha256(b"xiaohao probe" + settings.master_key()).hexdigest()[:32]


def _values(settings: Settings) -> dict[str, str]:
    edge, first = settings.edge, listeners(settings.edge)
    sockets = "\n".join(
        f'        case "{way}": $fs = "{each.bound}"; $var(our) = "{each.seen}"; '
        f'$var(transport) = "{each.transport}"; break;'
        for way, each in first.items()
    )
    inside = settings.announcements.edge
    sockets += f'\n        case "inside": $fs = "udp:{inside}"; $var(our) = "{inside}";'
    sockets += ' $var(transport) = "udp"; break;'
    announcer, door = host_port(settings.announcements.listen), host_port(inside)
    listen = [
        f"listen={each.bound}" + (f" advertise {each.seen}" if each.shown != each.host else "")
        for each in every_listener(edge)
    ]
    values = {
        "DEBUG": str(_LOG_LEVELS[settings.log_level]),
        "WORKERS": str(edge.workers),
        "LISTEN": "\n".join(listen),
        "MODULES": modules_folder(),
        "FOLDER": str(folder(settings)),
        "ADVERTISE": next(iter(first.values())).seen,
        "NAMES": str(_IPV6_FIRST if all(way.endswith(SIX) for way in first) else _IPV4_FIRST),
        "NG": settings.media.ng,
        "EVAPI": edge.evapi,
        "RPC": edge.rpc,
        "REALM": "xiaohao",
        "SECRET": secret(settings),
        "PROBE_USER": probe_user(settings),
        "SOCKETS": sockets,
        "INSIDE": inside,
        "INSIDE_HOST": door[0],
        "INSIDE_PORT": str(door[1]),
        "ANNOUNCER": settings.announcements.listen,
        "ANNOUNCER_HOST": announcer[0],
        "ANNOUNCER_PORT": str(announcer[1]),
        "ANNOUNCER_SILENT_MS": str(_ANNOUNCER_SILENT_MS),
        "SDP_FLAGS": f"{SDP_FLAGS} replace-SDP-version",
        "SDP_ATTRIBUTES": _SDP_ATTRIBUTES,
        "BOTH_WAYS": BOTH_WAYS,
        "BAN_S": str(edge.ban_s),
        "PROBE_S": str(edge.probe_s),
        "LAST_CSEQ": str(LAST_CSEQ),
        "CALLS_PER_SECOND": str(edge.calls_per_second),
        "REFUSALS_TOLD": str(_REFUSALS_TOLD),
        "UNDECIDED": str(edge.undecided_calls),
        "BYE_PATIENCE_MS": str(_BYE_PATIENCE_MS),
        "DECISION_MS": str(settings.calls.decision_ms),
        "LONGEST_INVITE_MS": str(_longest_invite_s(settings) * 1000),
        "SILENT_S": str(_SWITCH_SILENT_S),
        "CAUSES": "\n".join(
            f"        case {code}: $var(cause) = {cause}; break;" for code, cause in USUAL_CAUSES.items()
        ),
        "ENABLE_TLS": "",
        "LOAD_TLS": "",
        "TLS_PARAMS": "",
        **_trace(settings),
    }
    if edge.tls_certificate and edge.tls_private_key:
        values["ENABLE_TLS"] = "enable_tls=yes"
        values["LOAD_TLS"] = 'loadmodule "tls.so"'
        values["TLS_PARAMS"] = (
            f'modparam("tls", "certificate", "{edge.tls_certificate}")\n'
            f'modparam("tls", "private_key", "{edge.tls_private_key}")\n'
            'modparam("tls", "tls_method", "TLSv1.2+")'
        )
        if edge.tls_authorities:
            values["TLS_PARAMS"] += (
                f'\nmodparam("tls", "ca_list", "{edge.tls_authorities}")'
                '\nmodparam("tls", "verify_certificate", 1)'
            )
    return values


def _longest_invite_s(settings: Settings) -> int:
    """Until Kamailio gives up an INVITE whatever becomes of it; 180 s are the least (RFC 3261 16.8)."""
    calls, waits_s = settings.calls, min(settings.routing.longest_wait_s, LONGEST_WAIT_S)
    return max(180, waits_s + calls.ring_s + calls.progress_s + _SPOKEN_S)


def hep_key(vault: Vault) -> str:
    """By which the listener for SIP messages knows that they come from an edge of this platform."""
    return vault.index("xiaohao hep").hex()


def _trace(settings: Settings) -> dict[str, str]:
    trace = settings.trace
    if not trace.sip:
        return {"LOAD_TRACE": "", "TRACE_PARAMS": "", "TRACE_CALL": ""}
    parameters = {
        "trace_to_database": "0",
        # whatever goes through a socket, as it is there: repeated messages, too, and the BYEs of the switch
        "trace_mode": "1",
        "trace_on": "1",
        "hep_mode_on": "1",
        "hep_version": "3",
        "duplicate_uri": f'"sip:{trace.listen}"',
        "auth_key": f'"{hep_key(vault_of(settings))}"',
    }
    chosen = ""
    if trace.sample < 1:
        # its digits in the call's id are as good as drawn by lot, and everybody can read them there
        chosen = f"if ($(avp(id){{s.substr,15,3}}{{s.int}}) < {round(trace.sample * 1000)}) "
    return {
        "LOAD_TRACE": 'loadmodule "siptrace.so"',
        "TRACE_PARAMS": "\n".join(
            f'modparam("siptrace", "{name}", {value})' for name, value in parameters.items()
        ),
        # the caller's side has a Call-ID of its own; the callee's side has the call's id
        "TRACE_CALL": f'{chosen}hlog("$avp(id)", "$ci");',
    }


def write_configuration(settings: Settings) -> Path:
    """Write kamailio.cfg and the (still empty) lists of sources and targets; gives kamailio.cfg's path."""
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True)
    parts = resources.files("xiaohao.edge").joinpath("config")
    text = "\n".join(parts.joinpath(f"{name}.cfg").read_text() for name in _PARTS)
    for name, value in _values(settings).items():
        text = text.replace(f"@{name}@", value)
    path = place / "kamailio.cfg"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    for name in ("sources.txt", "targets.txt"):
        (place / name).touch()
    return path


def command(settings: Settings) -> list[str]:
    """How to start Kamailio in the foreground. Raises EngineMissing."""
    binary = shutil.which("kamailio", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not binary:
        raise EngineMissing("Kamailio is missing: apt-get install kamailio kamailio-extra-modules")
    place = folder(settings)
    return [
        *(binary, "-DD", "-E", "-f", str(place / "kamailio.cfg")),
        *("-x", "tlsf", "-X", "tlsf", "-m", str(settings.edge.shared_memory_mb), "-M", "16"),
        *("-b", str(_RECEIVE_BUFFER)),
        *("-P", str(place / "kamailio.pid"), "-Y", str(place), "-w", str(place)),
    ]
