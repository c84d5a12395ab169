"""The tables of billing, of the same schema as `schema.py`, whose conventions hold here.

Amounts (`*_amount`, `amount`, `funds`, `spending_limit`) are millionths of the currency; `month` is the
number 202611, `day` the number 20261130, both on a Chinese clock.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, false, text

from xiaohao.database.base import metadata
from xiaohao.database.number_tables import number_history

contracts = Table(
    "contracts",
    metadata,
    Column("id", Text, primary_key=True),  # con_…
    Column("customer_id", Text, nullable=False),
    Column("from_month", Integer, nullable=False),
    Column("to_month", Integer),  # the last in which it holds; null: until another one begins
    Column("version", Integer, nullable=False),  # of those that begin with a month the last one holds
    Column("terms", Text, nullable=False),  # JSON of billing.terms.Terms
    Column("note", Text),
    Column("created_by", Text),  # key_…
    Column("created_at", BigInteger, nullable=False),
    Index("contracts_version", "customer_id", "from_month", "version", unique=True),
)

#: One row a customer. Whoever rates or closes a customer's month locks it first.
billing_accounts = Table(
    "billing_accounts",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("prepaid", Boolean, nullable=False, server_default=false()),
    Column("funds", BigInteger, nullable=False, server_default="0"),  # paid in, by a prepaid customer
    Column("spending_limit", BigInteger),  # a month's; null: none
    Column("warn_below", BigInteger),  # tell the customer when so much is left
    # what the open months cost as far as it is known, and what closed months of prepaid customers cost
    Column("running_amount", BigInteger, nullable=False, server_default="0"),
    Column("settled_amount", BigInteger, nullable=False, server_default="0"),
    Column("warned_at", BigInteger),
    Column("notices", Integer, nullable=False, server_default="0"),  # events of this account so far
    Column("stopped_at", BigInteger),
    Column("updated_at", BigInteger, nullable=False),
)

#: Months whose usages stand still: what comes later goes to the next month that is open.
closed_months = Table(
    "closed_months",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("closed_at", BigInteger, nullable=False),
    Column("invoiced", Boolean, nullable=False, server_default=false()),  # or found to cost nothing
    Column("changes", Integer, nullable=False, server_default="0"),  # what its bill depends on, so often
    Index(
        "closed_months_due",
        "month",
        sqlite_where=text("NOT invoiced"),
        postgresql_where=text("NOT invoiced"),
    ),
    sqlite_with_rowid=False,
)

payments = Table(
    "payments",
    metadata,
    Column("id", Text, primary_key=True),  # pay_…
    Column("customer_id", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("payments_customer", "customer_id", "created_at"),
)

#: What people enter by hand: prompts, person-days, visits, corrections.
billing_entries = Table(
    "billing_entries",
    metadata,
    Column("id", Text, primary_key=True),  # ent_…
    Column("customer_id", Text, nullable=False),
    Column("month", Integer, nullable=False),
    Column("item", Text, nullable=False),  # billing.terms.ServiceItem
    Column("quantity", Text, nullable=False),  # exact decimals
    Column("price", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("billing_entries_month", "customer_id", "month", "id"),
)

#: What is charged of each CDR, measured once. The key is what makes it once.
usages = Table(
    "usages",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("month", Integer, nullable=False),  # whose bill it is on: later than its day where it came late
    Column("day", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("number", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("application", Text),  # the pool of the number
    Column("order_ref", Text),
    Column("calls", Integer, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("acd_s", Integer, nullable=False),
    Column("protections", Integer, nullable=False),
    Column("recordings", Integer, nullable=False),
    Index("usages_order", "customer_id", "month", "at", "call_id", "part"),
    sqlite_with_rowid=False,
)

#: The same added up while the month runs, in the transaction that writes the usages.
usage_sums = Table(
    "usage_sums",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("number", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("acd_s", BigInteger, nullable=False),
    Column("protections", BigInteger, nullable=False),
    Column("recordings", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

invoices = Table(
    "invoices",
    metadata,
    Column("id", Text, primary_key=True),  # inv_…
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # invoice | credit_note
    Column("state", Text, nullable=False),  # draft | issued | paid | void
    Column("month", Integer, nullable=False),
    Column("number", Text, unique=True),  # without gaps; null: a draft
    Column("corrects", Text),  # credit note: the invoice
    Column("contract_id", Text),  # null: the standard tariff
    Column("net_amount", BigInteger, nullable=False),
    Column("vat_amount", BigInteger, nullable=False),
    Column("gross_amount", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # JSON; never changed once it is issued
    Column("document_sha256", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("issued_at", BigInteger),
    Column("paid_at", BigInteger),
    Column("voided_at", BigInteger),
    Column("note", Text),
    # two who close the same month make one invoice
    Index(
        "invoices_one_a_month",
        "customer_id",
        "month",
        unique=True,
        sqlite_where=text("kind = 'invoice' AND state <> 'void'"),
        postgresql_where=text("kind = 'invoice' AND state <> 'void'"),
    ),
    Index("invoices_customer", "customer_id", "id"),
    Index("invoices_corrects", "corrects"),
)

#: A month rated anew, to be looked at before it counts.
reratings = Table(
    "reratings",
    metadata,
    Column("id", Text, primary_key=True),  # rer_…
    Column("customer_id", Text, nullable=False),
    Column("month", Integer, nullable=False),
    Column("state", Text, nullable=False),  # ready | accepting | accepted | dismissed
    Column("contract_id", Text),
    Column("report", Text, nullable=False),  # JSON
    Column("created_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("reratings_customer", "customer_id", "id"),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),  # rec_…
    Column("trunk_id", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("summary", Text, nullable=False),  # JSON
    Column("created_at", BigInteger, nullable=False),
)

#: Only what does not agree is kept, beside the sums.
reconciliation_items = Table(
    "reconciliation_items",
    metadata,
    Column("reconciliation_id", Text, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("finding", Text, nullable=False),  # missing_here | missing_there | seconds | amount | unreadable
    Column("line", Integer),  # of the carrier's file
    Column("call_id", Text),
    Column("number", Text),
    Column("person_sealed", LargeBinary),
    Column("at", BigInteger),
    Column("our_seconds", BigInteger),
    Column("their_seconds", BigInteger),
    Column("our_amount", BigInteger),
    Column("their_amount", BigInteger),
    sqlite_with_rowid=False,
)

#: Changes of whose a number is, and only these: lending a number to a person is the hot path and writes none.
OWNERSHIP = "reason IN ('imported', 'moved', 'released_to_pool', 'taken_to_stock', 'retired')"
for _name, _columns in (
    ("number_history_owner", (number_history.c.owner_id, number_history.c.number)),
    ("number_history_owners", (number_history.c.number, number_history.c.at)),
):
    Index(_name, *_columns, sqlite_where=text(OWNERSHIP), postgresql_where=text(OWNERSHIP))
