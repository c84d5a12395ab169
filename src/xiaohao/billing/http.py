"""Routes: contracts, accounts, entries by hand, usage and what-if."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Id, Name, Request, Timestamp
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.billing import terms
from xiaohao.billing.calendar import month_text, parse_month
from xiaohao.billing.deeds import Deeds
from xiaohao.billing.money import millionths, text_of
from xiaohao.billing.service import Account, Billing, Contract, Limits
from xiaohao.billing.terms import ServiceItem
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.errors import Refusal
from xiaohao.tenants.model import Principal

_LIMIT_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
_AMOUNT_PATTERN = _LIMIT_PATTERN.replace("^", "^-?")


def _month(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("not a month, as in 2026-11")  # noqa: TRY004 - Pydantic turns it into a refusal
    return parse_month(text)


def _amount(text: str) -> str:
    millionths(Decimal(text))
    return text


#: `2026-11` outside, 202611 inside
Month = Annotated[
    int,
    BeforeValidator(_month),
    WithJsonSchema({"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$", "examples": ["2026-11"]}),
]
#: exact text, because JSON's numbers are not
Amount = Annotated[str, Field(pattern=_AMOUNT_PATTERN, examples=["1000.00"]), AfterValidator(_amount)]
#: the same, 0 or more
Limit = Annotated[str, Field(pattern=_LIMIT_PATTERN, examples=["50000.00"]), AfterValidator(_amount)]
Document = dict[str, Any]


class _Open(BaseModel):
    # The documents are made in billing/wire.py; what it adds shows up here by itself.
    model_config = ConfigDict(extra="allow")


class BillView(_Open):
    """A month's bill on every level. Amounts are exact text."""

    month: str
    currency: str
    lines: list[Document]
    applications: list[Document]
    kinds: list[Document]
    numbers: list[Document]
    days: list[Document]
    net: str
    vat: str
    gross: str


class UsageView(BillView):
    """The bill of a month as far as it has come."""

    contract_id: str | None = Field(description="null: the standard tariff")


class WhatIfView(_Open):
    """A month under its contract and under other terms."""

    month: str
    actual: BillView
    what_if: BillView
    difference: str


class ContractView(BaseModel):
    """A version of a contract, in force until the next one's month."""

    id: str
    customer_id: str
    from_month: str
    to_month: str | None = Field(description="The last month; null: until another one begins")
    version: int
    terms: Document
    note: str | None
    created_by: str | None
    created_at: Timestamp


class NewContract(Request):
    """A version to add. What `terms` may hold is written in docs/billing.md."""

    from_month: Month
    to_month: Month | None = Field(
        None, description="The last month; then that holds which held before. null: until another one begins"
    )
    terms: Document
    note: Name | None = None


class ContractList(BaseModel):
    """Every version, in the order in which they come into force."""

    items: list[ContractView]


class TermsView(BaseModel):
    """The terms in force."""

    contract_id: str | None = Field(description="null: the standard tariff")
    terms: Document


class AccountView(BaseModel):
    """Where a customer stands."""

    customer_id: str
    prepaid: bool
    funds: str
    settled: str
    spending_limit: str | None
    warn_below: str | None
    this_month: str
    open_months: str
    left: str | None = Field(description="What may still be spent; null: there is no limit")
    warned_at: Timestamp | None
    stopped_at: Timestamp | None


class LimitsChange(Request):
    """How a customer pays and how much it may spend."""

    prepaid: bool = False
    spending_limit: Limit | None = Field(None, description="A month's; null: none")
    warn_below: Limit | None = Field(None, description="Warn when so much is left; null: never")


class PaymentMade(Request):
    """Money that has come, or (below zero) was given back."""

    amount: Amount
    note: Name


class NewEntry(Request):
    """Something entered by hand."""

    month: Month
    item: ServiceItem = Field(strict=False)
    quantity: Amount
    price: Amount | None = Field(None, description="null: the contract's")
    note: Name


class EntryMade(BaseModel):
    """The entry."""

    id: str


class EntryQuery(BaseModel):
    """Of which month."""

    model_config = ConfigDict(extra="forbid")

    month: Month


class EntryView(BaseModel):
    """Something entered by hand."""

    id: str
    item: ServiceItem
    quantity: str
    price: str
    note: str


class EntryList(BaseModel):
    """All of a month, in the order in which they were entered."""

    items: list[EntryView]


class PaymentView(BaseModel):
    """Money that came, or (below zero) was given back."""

    id: str
    amount: str
    note: str
    created_at: Timestamp


class PaymentList(BaseModel):
    """All of them, the newest first."""

    items: list[PaymentView]


class CallCharges(BaseModel):
    """What a call costs and why; of several parts where its legs or months are charged apart."""

    items: list[Document]


class WhatIf(Request):
    """A month and other terms."""

    month: Month
    terms: Document


class UsageQuery(BaseModel):
    """Whose usage, and of which month."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Id | None = Field(None, description="For the operator")
    month: Month | None = Field(None, description="The one that runs, unless given")


def router(billing: Billing, deeds: Deeds) -> APIRouter:
    """The routes of this room, but for invoices."""
    routes = api_router("billing")

    @routes.get("/v1/billing/standard-tariff")
    async def get_standard_tariff(_: OperatorKey) -> TermsView:
        """The platform's price table, every default said."""
        return TermsView(contract_id=None, terms=terms.document_of(terms.standard()))

    @routes.get("/v1/billing/usage")
    async def get_usage(key: AnyKey, query: Annotated[UsageQuery, Query()]) -> UsageView:
        """The bill of a month as far as it has come, some seconds behind the calls."""
        return UsageView(**await billing.usage(_whose(key, query.customer_id), query.month))

    @routes.get("/v1/billing/terms")
    async def get_terms(key: AnyKey, query: Annotated[UsageQuery, Query()]) -> TermsView:
        """The prices in force in a month."""
        contract_id, found = await billing.terms_of(_whose(key, query.customer_id), query.month)
        return TermsView(contract_id=contract_id, terms=terms.document_of(found))

    @routes.get("/v1/billing/account")
    async def get_account(key: AnyKey, query: Annotated[UsageQuery, Query()]) -> AccountView:
        """What is used, what was paid, what is left."""
        return _account(await billing.account(_whose(key, query.customer_id)))

    @routes.get("/v1/billing/calls/{call_id}")
    async def get_call_charges(key: AnyKey, call_id: str) -> CallCharges:
        """What a call costs and why."""
        return CallCharges(items=await billing.call(call_id, key.customer_id))

    _add_operator_routes(routes, billing, deeds)
    return routes


def _add_operator_routes(routes: APIRouter, billing: Billing, deeds: Deeds) -> None:
    @routes.post("/v1/customers/{customer_id}/contracts", status_code=201)
    async def add_contract(key: OperatorKey, customer_id: str, body: NewContract) -> ContractView:
        """Add a version of a customer's contract, in force from a month on."""
        adding = billing.add_contract(
            customer_id, body.from_month, body.terms, body.note, key.key_id, body.to_month
        )
        made = await deeds.do(key, "contract", adding, customer_id=customer_id)
        return _contract(made)

    @routes.get("/v1/customers/{customer_id}/contracts")
    async def list_contracts(_: OperatorKey, customer_id: str) -> ContractList:
        """Every version of a customer's contract."""
        return ContractList(items=[_contract(one) for one in await billing.contracts(customer_id)])

    @routes.put("/v1/customers/{customer_id}/limits")
    async def put_limits(key: OperatorKey, customer_id: str, body: LimitsChange) -> AccountView:
        """Let a customer pay in advance, or limit what it spends in a month; in force at once."""
        limits = Limits(body.prepaid, _given(body.spending_limit), _given(body.warn_below))
        setting = billing.set_limits(customer_id, limits)
        said = body.model_dump()
        return _account(await deeds.do(key, "limits", setting, customer_id=customer_id, **said))

    @routes.post("/v1/customers/{customer_id}/payments", status_code=201)
    async def add_payment(key: OperatorKey, customer_id: str, body: PaymentMade) -> AccountView:
        """Write down a payment of a prepaid customer."""
        amount = millionths(Decimal(body.amount))
        paying = billing.pay_in(customer_id, amount, body.note, key.key_id)
        return _account(await deeds.do(key, "payment", paying, customer_id=customer_id, amount=body.amount))

    @routes.get("/v1/customers/{customer_id}/payments")
    async def list_payments(_: OperatorKey, customer_id: str) -> PaymentList:
        """What a customer paid, the newest first."""
        return PaymentList(
            items=[
                PaymentView(
                    id=one.id,
                    amount=text_of(one.amount),
                    note=one.note,
                    created_at=rfc3339(one.created_at),
                )
                for one in await billing.payments(customer_id)
            ]
        )

    @routes.post("/v1/customers/{customer_id}/billing-entries", status_code=201)
    async def add_entry(key: OperatorKey, customer_id: str, body: NewEntry) -> EntryMade:
        """Enter prompts, person-days, visits or an adjustment by hand."""
        adding = billing.add_entry(
            customer_id,
            body.month,
            body.item,
            Decimal(body.quantity),
            None if body.price is None else Decimal(body.price),
            body.note,
            key.key_id,
        )
        made = await deeds.do(key, "entry", adding, customer_id=customer_id, item=body.item.value)
        return EntryMade(id=made)

    @routes.get("/v1/customers/{customer_id}/billing-entries")
    async def list_entries(
        _: OperatorKey, customer_id: str, query: Annotated[EntryQuery, Query()]
    ) -> EntryList:
        """What was entered by hand for a month."""
        found = await billing.entries(customer_id, query.month)
        return EntryList(
            items=[
                EntryView(
                    id=one.id,
                    item=one.item,
                    quantity=str(one.quantity),
                    price=str(one.price),
                    note=one.note,
                )
                for one in found
            ]
        )

    @routes.delete("/v1/customers/{customer_id}/billing-entries/{entry_id}", status_code=204)
    async def delete_entry(key: OperatorKey, customer_id: str, entry_id: str) -> None:
        """Take back what was entered, until its month has its invoice."""
        taking = billing.take_entry_away(customer_id, entry_id)
        await deeds.do(key, "entry_taken_away", taking, customer_id=customer_id, entry_id=entry_id)

    @routes.post("/v1/customers/{customer_id}/what-if", openapi_extra=ONLY_READS)
    async def what_if(_: OperatorKey, customer_id: str, body: WhatIf) -> WhatIfView:
        """Rate a month under other terms and show both; nothing is changed."""
        return WhatIfView(**await billing.what_if(customer_id, body.month, body.terms))


def _whose(key: Principal, asked: str | None) -> str:
    customer_id = key.customer_id or asked
    if customer_id is None:
        detail = "Say which customer."
        errors = {"errors": [{"field": "customer_id", "detail": detail}]}
        raise Refusal("validation_failed", "The request is not valid", detail, 422, errors)
    return customer_id


def _given(amount: str | None) -> int | None:
    return None if amount is None else millionths(Decimal(amount))


def _text(amount: int | None) -> str | None:
    return None if amount is None else text_of(amount)


def _contract(one: Contract) -> ContractView:
    return ContractView(
        id=one.id,
        customer_id=one.customer_id,
        from_month=month_text(one.from_month),
        to_month=None if one.to_month is None else month_text(one.to_month),
        version=one.version,
        terms=one.terms,
        note=one.note,
        created_by=one.created_by,
        created_at=rfc3339(one.created_at),
    )


def _account(one: Account) -> AccountView:
    return AccountView(
        customer_id=one.customer_id,
        prepaid=one.prepaid,
        funds=text_of(one.funds),
        settled=text_of(one.settled),
        spending_limit=_text(one.spending_limit),
        warn_below=_text(one.warn_below),
        this_month=text_of(one.this_month),
        open_months=text_of(one.open_months),
        left=_text(one.left),
        warned_at=rfc3339_or_none(one.warned_at),
        stopped_at=rfc3339_or_none(one.stopped_at),
    )
