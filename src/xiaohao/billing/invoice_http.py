"""Routes: closing a month, invoices and their files, months rated anew, comparisons with carriers."""

import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Id, Name, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import NO_KEY, api_router
from xiaohao.billing.calendar import month_text
from xiaohao.billing.closing import Closing
from xiaohao.billing.deeds import Deeds
from xiaohao.billing.http import Amount, Document, Month
from xiaohao.billing.invoices import Invoice, Invoices
from xiaohao.billing.model import InvoiceKind, InvoiceState
from xiaohao.billing.money import millionths, text_of
from xiaohao.billing.rerating import Rerating, Reratings
from xiaohao.billing.sheets import csv_of, orders_csv
from xiaohao.billing.words import Language
from xiaohao.billing.workbook import write_xlsx
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.secrecy import Vault

_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_CHUNK: Final = 65_536


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The file", "content": content}}


class InvoiceView(BaseModel):
    """An invoice or a credit note."""

    id: str
    customer_id: str
    kind: InvoiceKind
    state: InvoiceState
    month: str
    number: str | None = Field(description="null while it is a draft")
    corrects: str | None = Field(description="Of a credit note: the id of the invoice")
    contract_id: str | None = Field(description="null: the standard tariff")
    net: str
    vat: str
    gross: str
    created_at: Timestamp
    issued_at: Timestamp | None
    paid_at: Timestamp | None
    voided_at: Timestamp | None
    note: str | None


class InvoiceDocumentView(InvoiceView):
    """The same with its contents."""

    document: Document


class InvoiceQuery(PageQuery):
    """Which invoices."""

    customer_id: Id | None = Field(None, description="For the operator")
    month: Month | None = None
    state: InvoiceState | None = None


class PdfQuery(BaseModel):
    """How to print it."""

    model_config = ConfigDict(extra="forbid")

    language: Language = Language.CHINESE


class Closed(BaseModel):
    """The month is closed."""

    invoice_id: str | None = Field(description="null: it costs nothing")


class Reason(Request):
    """Why."""

    note: Name


class NewCredit(Request):
    """A credit note to draft."""

    amount: Amount = Field(description="With tax, above zero")
    note: Name


class NewRerating(Request):
    """A month to rate anew."""

    customer_id: Id
    month: Month


class ReratingQuery(PageQuery):
    """Which reratings."""

    customer_id: Id | None = None
    month: Month | None = None
    state: Literal["ready", "accepting", "accepted", "dismissed"] | None = None


class ReratingView(BaseModel):
    """A month rated anew."""

    id: str
    customer_id: str
    month: str
    state: str = Field(description="ready, accepting, accepted or dismissed")
    contract_id: str | None
    report: Document
    created_at: Timestamp


def router(invoices: Invoices, closing: Closing, vault: Vault, deeds: Deeds) -> APIRouter:
    """The routes of invoices."""
    routes = api_router("invoices")

    @routes.get("/v1/invoices")
    async def list_invoices(key: AnyKey, query: Annotated[InvoiceQuery, Query()]) -> Page[InvoiceView]:
        """Invoices and credit notes; a customer sees those that were issued."""
        cursors = Cursors(vault, f"invoices {key.customer_id}")
        found = await invoices.page(
            cursors.position(query.after) or "",
            query.limit + 1,
            customer_id=key.customer_id or query.customer_id,
            month=query.month,
            state=query.state,
            with_drafts=key.is_operator,
        )
        return cursors.page(found, query.limit, _view, lambda one: one.id)

    @routes.get("/v1/invoices/{invoice_id}")
    async def get_invoice(key: AnyKey, invoice_id: str) -> InvoiceDocumentView:
        """One, on every level: lines, applications, kinds, numbers, days."""
        return _with_document(await invoices.get(invoice_id, key.customer_id))

    _add_files(routes, invoices)
    _add_states(routes, invoices, closing, deeds)
    return routes


def _add_files(routes: APIRouter, invoices: Invoices) -> None:
    @routes.get("/v1/invoices/{invoice_id}/pdf", response_class=Response, responses=_file("application/pdf"))
    async def get_pdf(key: AnyKey, invoice_id: str, query: Annotated[PdfQuery, Query()]) -> Response:
        """The document to print, in Chinese or English."""
        invoice = await invoices.get(invoice_id, key.customer_id)
        # the library is large: only who prints loads it
        from xiaohao.billing.pdf import render  # noqa: PLC0415

        content = await run_in_threadpool(render, invoice, query.language)
        return Response(content, media_type="application/pdf")

    @routes.get("/v1/invoices/{invoice_id}/calls.csv", response_class=Response, responses=_file("text/csv"))
    async def get_csv(key: AnyKey, invoice_id: str) -> Response:
        """Every call with its charges."""
        invoice = await invoices.get(invoice_id, key.customer_id)
        return StreamingResponse(csv_of(invoices.calls(invoice)), media_type="text/csv")

    @routes.get("/v1/invoices/{invoice_id}/orders.csv", response_class=Response, responses=_file("text/csv"))
    async def get_orders(key: AnyKey, invoice_id: str) -> Response:
        """What each order (`order_ref`) costs; calls without one stand together in the first line."""
        invoice = await invoices.get(invoice_id, key.customer_id)
        return StreamingResponse(orders_csv(invoices.calls(invoice)), media_type="text/csv")

    @routes.get("/v1/invoices/{invoice_id}/xlsx", response_class=Response, responses=_file(_XLSX))
    async def get_xlsx(key: AnyKey, invoice_id: str, query: Annotated[PdfQuery, Query()]) -> Response:
        """A workbook: a sheet a level, and every call with its charges."""
        invoice = await invoices.get(invoice_id, key.customer_id)
        with tempfile.TemporaryDirectory(prefix="xiaohao-invoice-") as folder:
            path = Path(folder) / "invoice.xlsx"
            await write_xlsx(path, invoice.document or {}, invoices.calls(invoice), query.language)
            file = path.open("rb")  # stays readable when its folder is gone
        return StreamingResponse(_chunks(file), media_type=_XLSX)


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _add_states(routes: APIRouter, invoices: Invoices, closing: Closing, deeds: Deeds) -> None:
    @routes.post("/v1/customers/{customer_id}/months/{month}/close", openapi_extra=NO_KEY)
    async def close_month(_: OperatorKey, customer_id: str, month: Month) -> Closed:
        """Close a customer's month and draft its invoice, or draft it again; the worker does it by itself."""
        return Closed(invoice_id=await closing.close(customer_id, month))

    @routes.post("/v1/invoices/{invoice_id}/issue")
    async def issue_invoice(key: OperatorKey, invoice_id: str) -> InvoiceView:
        """Give a draft its number. It never changes from then on."""
        return _view(await deeds.do(key, "issue", invoices.issue(invoice_id), invoice_id=invoice_id))

    @routes.post("/v1/invoices/{invoice_id}/pay")
    async def pay_invoice(key: OperatorKey, invoice_id: str) -> InvoiceView:
        """It was paid."""
        return _view(await deeds.do(key, "pay", invoices.pay(invoice_id), invoice_id=invoice_id))

    @routes.post("/v1/invoices/{invoice_id}/void")
    async def void_invoice(key: OperatorKey, invoice_id: str, body: Reason) -> InvoiceView:
        """Take a draft, or an invoice that is not paid, back. Its number stays used."""
        voiding = invoices.void(invoice_id, body.note)
        return _view(await deeds.do(key, "void", voiding, invoice_id=invoice_id, note=body.note))

    @routes.post("/v1/invoices/{invoice_id}/credit-notes", status_code=201)
    async def add_credit_note(key: OperatorKey, invoice_id: str, body: NewCredit) -> InvoiceView:
        """Draft a credit note."""
        crediting = invoices.credit(invoice_id, millionths(Decimal(body.amount)), body.note)
        said = {"invoice_id": invoice_id, "amount": body.amount}
        return _view(await deeds.do(key, "credit_note", crediting, **said))


def rerating_router(reratings: Reratings, vault: Vault, deeds: Deeds) -> APIRouter:
    """The routes of months rated anew."""
    routes = api_router("billing")

    @routes.post("/v1/reratings", status_code=201, openapi_extra=NO_KEY)
    async def add_rerating(key: OperatorKey, body: NewRerating) -> ReratingView:
        """Rate a month anew under its contract and report what would change; nothing does."""
        return _rerating(await reratings.prepare(body.customer_id, body.month, key.key_id))

    @routes.get("/v1/reratings")
    async def list_reratings(_: OperatorKey, query: Annotated[ReratingQuery, Query()]) -> Page[ReratingView]:
        """Months that were rated anew, with their reports."""
        cursors = Cursors(vault, "reratings")
        found = await reratings.page(
            cursors.position(query.after) or "",
            query.limit + 1,
            customer_id=query.customer_id,
            month=query.month,
            state=query.state,
        )
        return cursors.page(found, query.limit, _rerating, lambda one: one.id)

    @routes.get("/v1/reratings/{rerating_id}")
    async def get_rerating(_: OperatorKey, rerating_id: str) -> ReratingView:
        """The report."""
        return _rerating(await reratings.get(rerating_id))

    @routes.post("/v1/reratings/{rerating_id}/accept", openapi_extra=NO_KEY)
    async def accept_rerating(key: OperatorKey, rerating_id: str) -> ReratingView:
        """Let it count. Where the invoice is issued the difference is credited, or charged next month."""
        await deeds.begin(key, "accept_rerating", rerating_id=rerating_id)
        return _rerating(await reratings.accept(rerating_id))

    @routes.post("/v1/reratings/{rerating_id}/dismiss")
    async def dismiss_rerating(key: OperatorKey, rerating_id: str) -> ReratingView:
        """Leave everything as it was."""
        dismissing = reratings.dismiss(rerating_id)
        return _rerating(await deeds.do(key, "dismiss_rerating", dismissing, rerating_id=rerating_id))

    return routes


def _facts(one: Invoice) -> dict[str, Any]:
    return {
        "id": one.id,
        "customer_id": one.customer_id,
        "kind": one.kind,
        "state": one.state,
        "month": month_text(one.month),
        "number": one.number,
        "corrects": one.corrects,
        "contract_id": one.contract_id,
        "net": text_of(one.net),
        "vat": text_of(one.vat),
        "gross": text_of(one.gross),
        "created_at": rfc3339(one.created_at),
        "issued_at": rfc3339_or_none(one.issued_at),
        "paid_at": rfc3339_or_none(one.paid_at),
        "voided_at": rfc3339_or_none(one.voided_at),
        "note": one.note,
    }


def _view(one: Invoice) -> InvoiceView:
    return InvoiceView(**_facts(one))


def _with_document(one: Invoice) -> InvoiceDocumentView:
    return InvoiceDocumentView(**_facts(one), document=one.document or {})


def _rerating(one: Rerating) -> ReratingView:
    return ReratingView(
        id=one.id,
        customer_id=one.customer_id,
        month=month_text(one.month),
        state=one.state,
        contract_id=one.contract_id,
        report=one.report,
        created_at=rfc3339(one.created_at),
    )
