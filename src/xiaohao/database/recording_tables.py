"""The tables of recordings, of the same schema as `schema.py`, whose conventions hold here."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, Table, Text, text

from xiaohao.database.base import metadata

recordings = Table(
    "recordings",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("pool_id", Text),  # of the number dialled, when the recording was made
    Column("edge_id", Text, nullable=False),  # whose machine holds the capture
    Column("state", Text, nullable=False),  # recordings.model.RecordingState
    Column("received_at", BigInteger, nullable=False),  # the zero of the recording's time line
    Column("ended_at", BigInteger, nullable=False),
    Column("announcements", Text),  # JSON list of calls.model.Announcement: not in the capture
    Column("tries", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("error", Text),
    Column("failure", Text),  # recordings.model.Failure
    Column("path", Text),
    Column("format", Text),  # wav | mp3 | opus
    # of the audio as it is delivered
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("duration_ms", BigInteger),
    Column("rate", Integer),
    Column("cut_off", Boolean),  # not all that was said is in it
    # a: the caller, b: the callee; codecs with commas between them, levels in dBFS
    Column("codecs_a", Text),
    Column("codecs_b", Text),
    Column("voice_ms_a", BigInteger),
    Column("voice_ms_b", BigInteger),
    Column("level_a", Float),
    Column("level_b", Float),
    # of the object as it lies in the store: the audio, and the picture behind it, sealed
    Column("picture_bytes", BigInteger),
    Column("stored_bytes", BigInteger),
    Column("stored_sha256", Text),
    Column("audio_key_sealed", LargeBinary),  # base64 of the object's own key; null: destroyed
    Column("ready_at", BigInteger),
    Column("delete_at", BigInteger),  # by a rule of its customer or pool; null: as the configuration says
    Column("held_at", BigInteger),  # a legal hold: not deleted whatever else says so
    Column("hold_reason_sealed", LargeBinary),
    Index(
        "recordings_due",
        "edge_id",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("recordings_customer", "customer_id", "call_id"),
    Index(
        "recordings_failed",
        "call_id",
        sqlite_where=text("state = 'failed'"),
        postgresql_where=text("state = 'failed'"),
    ),
    Index(
        "recordings_by_rule",
        "delete_at",
        sqlite_where=text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NOT NULL"),
        postgresql_where=text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NOT NULL"),
    ),
    Index(
        "recordings_by_default",
        "ended_at",
        sqlite_where=text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NULL"),
        postgresql_where=text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NULL"),
    ),
    Index(
        "recordings_deleting",
        "call_id",
        sqlite_where=text("state = 'deleting'"),
        postgresql_where=text("state = 'deleting'"),
    ),
)

#: For how long the recordings of a customer, or of a pool's numbers, are kept.
recording_rules = Table(
    "recording_rules",
    metadata,
    Column("scope_id", Text, primary_key=True),  # cus_… or pool_…
    Column("keep_days", Integer),  # 0: for ever; null: the rule was taken back
    Column("changed_at", BigInteger, nullable=False),
    # recordings up to this call have been given their new time; null: all have
    Column("applied_to", Text),
)

#: Proof that a recording was deleted: kept for good.
recording_deletions = Table(
    "recording_deletions",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("asked_at", BigInteger, nullable=False),  # from here on nobody can read it
    Column("cause", Text, nullable=False),  # request | retention
    Column("key_id", Text),  # key_…; null: nobody asked, its time was over
    Column("asked_by", Text),  # whose key it was; null: the operator's, or nobody's
    Column("reason_sealed", LargeBinary),
    # what there was
    Column("path", Text),
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("stored_bytes", BigInteger),
    Column("stored_sha256", Text),
    # when it was looked for, in the store and among the captures, and not found; null: not yet
    Column("gone_at", BigInteger),
)
