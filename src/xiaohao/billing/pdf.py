"""Invoices as PDF, in Chinese or English. The template `invoice.typ` prints what is prepared here."""

import json
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import typst

from xiaohao.billing.calendar import day_of, day_text, days_in, parse_month
from xiaohao.billing.invoices import Invoice
from xiaohao.billing.model import InvoiceKind, InvoiceState
from xiaohao.billing.wire import minutes
from xiaohao.billing.words import WORDS, Language, capital_amount, counted, said
from xiaohao.errors import Refusal

#: numbers that are printed; all are in the detail files
_NUMBERS_SHOWN: Final = 60
_FONT: Final = "Noto Sans CJK SC"
Document = Mapping[str, Any]


def render(invoice: Invoice, language: Language) -> bytes:
    """The PDF of an invoice or credit note. It takes a moment: call it in a thread.

    Raises Refusal: `font_missing`, where this machine cannot write Chinese.
    """
    if _FONT not in typst.Fonts().families():
        detail = f"The font {_FONT} is not installed on the server (Debian: fonts-noto-cjk)."
        raise Refusal("font_missing", "A font is missing", detail, 503)
    template = resources.files("xiaohao.billing").joinpath("invoice.typ").read_bytes()
    with tempfile.TemporaryDirectory(prefix="xiaohao-invoice-") as folder:
        (Path(folder) / "invoice.typ").write_bytes(template)
        (Path(folder) / "document.json").write_text(json.dumps(prepared(invoice, language)))
        return bytes(typst.compile(str(Path(folder) / "invoice.typ"), root=folder))


def prepared(invoice: Invoice, language: Language) -> dict[str, Any]:
    """Everything that is printed, as text."""
    document, words = invoice.document or {}, WORDS[language]
    seller = str(document["seller"] or "").splitlines()
    heading = words[invoice.kind]
    return {
        "lang": language.value,
        "region": "cn" if language is Language.CHINESE else "gb",
        "title": f"{heading} {invoice.number or ''} {document['month']}".replace("  ", " "),
        "seller": seller,
        "seller_name": seller[0] if seller else "",
        "customer": document["customer"]["name"],
        "customer_id": document["customer"]["id"],
        "draft": invoice.state in (InvoiceState.DRAFT, InvoiceState.VOID),
        "words": {
            **words,
            "heading": heading,
            "draft": words["void" if invoice.state is InvoiceState.VOID else "draft"],
        },
        "facts": _facts(invoice, document, words),
        **_picture(document.get("days", []), words),
        "lines": [_line(line, words) for line in document["lines"]],
        **{name: _money(document[name]) for name in ("net", "vat", "gross")},
        "vat_percent": document["vat_percent"],
        "words_of_amount": capital_amount(_cents(document["gross"])) if language is Language.CHINESE else "",
        "parts": _parts(document, words) if invoice.kind is InvoiceKind.INVOICE else [],
        "note": _note(document, words),
    }


def _facts(invoice: Invoice, document: Document, words: Mapping[str, str]) -> list[list[str]]:
    facts = [
        [words["number"], invoice.number or "–"],
        [words["month"], document["month"]],
        [words["issued"], "–" if invoice.issued_at is None else day_text(day_of(invoice.issued_at))],
        [words["currency"], document["currency"]],
    ]
    if invoice.kind is InvoiceKind.CREDIT_NOTE:
        facts.append([words["corrects"], str(document["corrects"])])
    else:
        contract = invoice.contract_id
        facts.append([words["contract"], words["standard"] if contract is None else contract[:16]])
    return facts


def _picture(days: list[Document], words: Mapping[str, str]) -> dict[str, Any]:
    if not days:
        return {"bars": [], "peak": ""}
    by_day = {day["day"]: day for day in days}
    first = min(by_day)
    # late calls are of days of another month: then only the days that had calls are drawn
    names = sorted(by_day)
    if all(name[:7] == first[:7] for name in names):
        month = parse_month(first[:7])
        names = [day_text(month * 100 + place) for place in range(1, days_in(month) + 1)]
    highest = max(days, key=lambda day: int(day["seconds"]))
    most = max(int(highest["seconds"]), 1)
    bars = [
        {
            "height": int(by_day[name]["seconds"]) / most if name in by_day else 0,
            "label": str(int(name[8:])),
        }
        for name in names
    ]
    peak = words["peak"].format(
        day=highest["day"], minutes=_thousands(minutes(int(highest["seconds"]))), calls=highest["calls"]
    )
    return {"bars": bars, "peak": peak}


def _line(line: Document, words: Mapping[str, str]) -> dict[str, str]:
    title = words[line["item"]]
    if line["kind"] is not None:
        title += f" · {words[line['kind']]}"
    quantity = ""
    if line["quantity"] is not None:
        quantity = f"{_thousands(line['quantity'])} {counted(line, words)}".strip()
    return {
        "title": title,
        "note": said(line, words),
        "quantity": quantity,
        "price": _thousands(line["price"] or ""),
        "amount": _money(line["amount"]),
    }


def _parts(document: Document, words: Mapping[str, str]) -> list[dict[str, Any]]:
    def column(title: str, number: bool = True, wide: bool = False) -> dict[str, Any]:
        return {"title": words[title], "number": number, "wide": wide}

    def sums(one: Document) -> list[str]:
        return [
            _thousands(str(one["calls"])),
            _thousands(minutes(one["seconds"])),
            _thousands(minutes(one["included_s"])),
            _money(one["rent"]),
            _money(one["total"]),
        ]

    counted = [column(name) for name in ("calls", "minutes_used", "included", "rents", "total")]
    numbers = document["numbers"][:_NUMBERS_SHOWN]
    parts: list[dict[str, Any]] = [
        {
            "title": words["by_application"],
            "columns": [column("application", number=False, wide=True), *counted],
            "rows": [
                [one["name"] or one["application"] or words["no_application"], *sums(one)]
                for one in document["applications"]
            ],
        },
        {
            "title": words["by_kind"],
            "columns": [column("kind", number=False, wide=True), *counted],
            "rows": [[words[one["kind"]], *sums(one)] for one in document["kinds"]],
        },
        {
            "title": words["by_number"],
            "columns": [
                column("number_title", number=False, wide=True),
                column("kind", number=False),
                *counted,
            ],
            "rows": [[one["number"], words[one["kind"]], *sums(one)] for one in numbers],
        },
        {
            "title": words["by_day"],
            "columns": [
                column("day", number=False, wide=True),
                column("calls"),
                column("minutes_used"),
                column("total"),
            ],
            "rows": [
                [
                    one["day"],
                    _thousands(str(one["calls"])),
                    _thousands(minutes(one["seconds"])),
                    _money(one["amount"]),
                ]
                for one in document["days"]
            ],
        },
    ]
    return [part for part in parts if part["rows"]]


def _note(document: Document, words: Mapping[str, str]) -> str:
    if "numbers" not in document:
        return ""
    more = len(document["numbers"]) - _NUMBERS_SHOWN
    return (words["more_numbers"].format(more=more) if more > 0 else "") + words["levels"]


def _money(text: str) -> str:
    return _thousands(text)


def _thousands(text: str) -> str:
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{rest}" if whole.isdigit() else text


def _cents(text: str) -> int:
    return int(text.replace(".", ""))
