"""The part of the first schema that is about numbers and bindings."""

import sqlalchemy as sa
from alembic import op

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create() -> None:
    """Create the tables."""
    _pools()
    _numbers()
    _number_history()
    _verifications()
    _complaints()
    _pool_samples()
    _bindings()
    _binding_versions()
    _legs()


def _pools() -> None:
    op.create_table(
        "pools",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recycle_s", sa.Integer(), nullable=False),
        sa.Column("grace_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("cities", sa.Text()),
        sa.Column("city_rule", sa.Text(), server_default="strict", nullable=False),
        sa.Column("fallback_cities", sa.Text()),
        sa.Column("choice", sa.Text(), server_default="least_recently_used", nullable=False),
        sa.Column("max_relations", sa.Integer()),
        sa.Column("complaints_limit", sa.Integer()),
        sa.Column("complaint_rest_s", sa.Integer()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pools_customer_id", "pools", ["customer_id"])


def _numbers() -> None:
    op.create_table(
        "numbers",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("city", sa.Text()),
        sa.Column("carrier", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text()),
        sa.Column("state_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("suspended_until", sa.BigInteger()),
        sa.Column("displayable", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("displayed_as", sa.Text()),
        sa.Column("dialled_by", sa.Text(), server_default="anyone", nullable=False),
        sa.Column("verification", sa.Text(), server_default="none", nullable=False),
        sa.Column("verified_until", sa.BigInteger()),
        sa.Column("relations", sa.Integer(), server_default="0", nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("pool_id", sa.Text()),
        sa.Column("trunk_id", sa.Text()),
        sa.Column("assigned_to_key", sa.LargeBinary()),
        sa.Column("assigned_to_sealed", sa.LargeBinary()),
        sa.Column("assigned_by", sa.Text()),
        sa.Column("fixed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("routing", sa.Text()),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_numbers_assigned_to_key", "numbers", ["assigned_to_key"])
    op.create_index("numbers_allocation", "numbers", ["pool_id", "state", "last_used_at", "number"])
    op.create_index(
        "numbers_allocation_city",
        "numbers",
        ["pool_id", "city", "state", "last_used_at", "number"],
        sqlite_where=sa.text("city IS NOT NULL"),
        postgresql_where=sa.text("city IS NOT NULL"),
    )
    op.create_index("numbers_customer", "numbers", ["customer_id", "number"])
    op.create_index(
        "numbers_displayed_as",
        "numbers",
        ["displayed_as"],
        sqlite_where=sa.text("displayed_as IS NOT NULL"),
        postgresql_where=sa.text("displayed_as IS NOT NULL"),
    )


def _number_history() -> None:
    op.create_table(
        "number_history",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.Text()),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text()),
        sa.Column("note_sealed", sa.LargeBinary()),
        sa.Column("customer_id", sa.Text()),
        sa.Column("person_key", sa.LargeBinary()),
        sa.Column("person_sealed", sa.LargeBinary()),
        sa.Column("owner_id", sa.Text()),
        sa.Column("pool_id", sa.Text()),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("number_history_number", "number_history", ["number", "at"])


def _verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("number", sa.Text()),
        sa.Column("person_key", sa.LargeBinary()),
        sa.Column("person_sealed", sa.LargeBinary()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("documents_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("valid_until", sa.BigInteger()),
        sa.Column("named_for", sa.Text()),
        sa.Column("renewal_sealed", sa.LargeBinary()),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("verifications_due", "verifications", ["state", "valid_until"])
    op.create_index("verifications_person", "verifications", ["customer_id", "person_key"], unique=True)


def _complaints() -> None:
    op.create_table(
        "complaints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("note_sealed", sa.LargeBinary()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("complaints_number", "complaints", ["number", "at"])


def _pool_samples() -> None:
    op.create_table(
        "pool_samples",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("usable", sa.Integer(), nullable=False),
        sa.Column("assigned", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("resting", sa.Integer(), nullable=False),
        sa.Column("free", sa.Integer(), nullable=False),
        sa.Column("peak", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "at"),
    )
    op.create_index("pool_samples_at", "pool_samples", ["at"])


def _bindings() -> None:
    op.create_table(
        "bindings",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text()),
        sa.Column("a_key", sa.LargeBinary()),
        sa.Column("a_sealed", sa.LargeBinary()),
        sa.Column("b_key", sa.LargeBinary()),
        sa.Column("b_sealed", sa.LargeBinary()),
        sa.Column("x", sa.Text(), nullable=False),
        sa.Column("y", sa.Text()),
        sa.Column("extension", sa.Text()),
        sa.Column("direction", sa.Text(), server_default="both", nullable=False),
        sa.Column("y_on_demand", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("y_pool", sa.Text()),
        sa.Column("y_life_s", sa.Integer()),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("recycle_until", sa.BigInteger()),
        sa.Column("x_recycle_until", sa.BigInteger()),
        sa.Column("y_recycle_until", sa.BigInteger()),
        sa.Column("x_grace_until", sa.BigInteger()),
        sa.Column("y_grace_until", sa.BigInteger()),
        sa.Column("record", sa.Boolean(), nullable=False),
        sa.Column("max_duration_s", sa.Integer()),
        sa.Column("prompts", sa.Text()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("user_data", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("bindings_customer", "bindings", ["customer_id", "seq"])
    op.create_index(
        "bindings_expiry",
        "bindings",
        ["expires_at"],
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    turn = "(CASE WHEN state = 'live' THEN 9223372036854775807 ELSE seq END)"
    op.create_index(
        "bindings_pair", "bindings", ["a_key", "b_key", "customer_id", sa.text(turn)], unique=True
    )
    op.create_index("bindings_x", "bindings", ["x", "created_at"])
    op.create_index("bindings_y", "bindings", ["y", "created_at"])
    op.create_index(
        "bindings_parent",
        "bindings",
        ["parent_id"],
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    ax_with_b = sa.text("state = 'live' AND mode = 'ax' AND b_key IS NOT NULL")
    op.create_index(
        "bindings_ax_b", "bindings", ["b_key"], sqlite_where=ax_with_b, postgresql_where=ax_with_b
    )


def _binding_versions() -> None:
    op.create_table(
        "binding_versions",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("binding_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("a_key", sa.LargeBinary()),
        sa.Column("a_sealed", sa.LargeBinary()),
        sa.Column("b_key", sa.LargeBinary()),
        sa.Column("b_sealed", sa.LargeBinary()),
        sa.Column("x", sa.Text(), nullable=False),
        sa.Column("y", sa.Text()),
        sa.Column("extension", sa.Text()),
        sa.Column("changed_by", sa.Text()),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("binding_versions_x", "binding_versions", ["x", "valid_from"])
    op.create_index("binding_versions_y", "binding_versions", ["y", "valid_from"])
    op.create_index("ix_binding_versions_binding_id", "binding_versions", ["binding_id"])


def _legs() -> None:
    op.create_table(
        "legs",
        sa.Column("caller_key", sa.LargeBinary(), nullable=False),
        sa.Column("dialled", sa.Text(), nullable=False),
        sa.Column("binding_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("barred", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("callee_sealed", sa.LargeBinary()),
        sa.Column("display", sa.Text()),
        sa.Column("valid_until", sa.BigInteger()),
        sa.Column("quarantine_until", sa.BigInteger()),
        sa.Column("grace_until", sa.BigInteger()),
        sa.Column("record", sa.Boolean(), nullable=False),
        sa.Column("max_duration_s", sa.Integer()),
        sa.Column("prompts", sa.Text()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("user_data", sa.Text()),
        sa.PrimaryKeyConstraint("caller_key", "dialled"),
    )
    op.create_index("ix_legs_binding_id", "legs", ["binding_id"])
    op.create_index("legs_dialled", "legs", ["dialled"])
    op.create_index(
        "legs_quarantine",
        "legs",
        ["quarantine_until"],
        sqlite_where=sa.text("state = 'quarantined'"),
        postgresql_where=sa.text("state = 'quarantined'"),
    )
