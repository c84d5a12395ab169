"""The terms of the audit log: what is worth an entry, and what an entry says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What was done."""

    LOOKUP_NUMBER = "lookup_number"
    LOOKUP_PERSON = "lookup_person"
    LOOKUP_PAIR = "lookup_pair"
    #: who was behind a number at a moment, with real numbers in full
    EVIDENCE = "evidence"
    #: CDRs of a person were searched
    SEARCH_CDRS = "search_cdrs"
    #: CDRs were written into a file, with real numbers in full
    EXPORT_CDRS = "export_cdrs"
    #: a CDR was found wrong, and put right by another record
    CORRECT_CDR = "correct_cdr"
    #: for how long CDRs are kept
    KEEP_CDRS = "keep_cdrs"
    #: something was done with what callers hear; `did` in the details says what
    PROMPT = "prompt"
    GRAPH = "graph"
    #: something was done with money: limits, payments, contracts, entries, invoices; `did` says what
    BILLING = "billing"
    #: a call's SIP messages, with real numbers in full
    SIP_MESSAGES = "sip_messages"
    #: somebody heard a recording, or a part of it
    RECORDING_AUDIO = "recording_audio"
    RECORDING_WAVEFORM = "recording_waveform"
    #: a link was made, by which a recording can be heard without a key
    RECORDING_LINK = "recording_link"
    RECORDING_DELETE = "recording_delete"
    #: a recording must not be deleted, or may be again
    RECORDING_HOLD = "recording_hold"
    RECORDING_RELEASE = "recording_release"
    #: for how long recordings are kept was changed
    RECORDING_RULE = "recording_rule"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did. `seq` grows in the order of writing; `at` is in µs since the epoch.

    `customer_id` is whose key it was, None the operator's; `subject` is masked where it is a person.
    """

    seq: int
    at: int
    key_id: str | None
    customer_id: str | None
    action: str
    subject: str | None
    details: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; each field that is not None must hold. Moments in µs; `until` is just outside."""

    action: Action | None = None
    since: int | None = None
    until: int | None = None
    key_id: str | None = None
    #: for the operator: of one customer's keys
    customer_id: str | None = None
