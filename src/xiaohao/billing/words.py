"""The words of invoices in Chinese and English, and amounts in Chinese capital figures."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class Language(StrEnum):
    """What an invoice is written in."""

    CHINESE = "zh"
    ENGLISH = "en"


_ENGLISH: Final = {
    "invoice": "Invoice",
    "credit_note": "Credit note",
    "draft": "Draft – not an invoice yet",
    "void": "Void",
    "to": "To",
    "number": "Number",
    "month": "Month",
    "issued": "Issued",
    "contract": "Contract",
    "standard": "standard tariff",
    "corrects": "Corrects",
    "currency": "Currency",
    "usage": "Usage by day",
    "peak": "highest day: {day}; minutes: {minutes}, calls: {calls}",
    "lines": "Charges",
    "item": "Item",
    "quantity": "Quantity",
    "price": "Unit price",
    "amount": "Amount",
    "net": "Net",
    "vat": "VAT",
    "gross": "Total due",
    "page": "Page",
    "by_application": "By application",
    "by_kind": "By kind of number",
    "by_number": "By number",
    "by_day": "By day",
    "application": "Application",
    "no_application": "none",
    "kind": "Kind",
    "day": "Day",
    "calls": "Calls",
    "minutes_used": "Minutes",
    "included": "Included",
    "total": "Amount",
    "rents": "Rent",
    "used": "Usage",
    "number_title": "Number",
    "more_numbers": "{more} more numbers are in the detail (CSV, XLSX, JSON). ",
    "levels": "Amounts by application, kind and number are without what was entered by hand, discounts and "
    "minimums; amounts by day are without rents.",
    "rent": "Number rent",
    "included_minutes": "Minutes included in the rent",
    "minutes": "Call minutes",
    "acd": "Smart routing of calls (ACD)",
    "number_protection": "Number protection",
    "recording": "Recording",
    "prompt": "Recording of a prompt",
    "development_day": "Custom development",
    "support_day": "On-site support",
    "adjustment": "Adjustment",
    "correction": "Correction of an earlier month",
    "discount": "Discount",
    "minimum": "Minimum commitment",
    "rounding": "Rounding",
    "credit": "Credit",
    "400": "400 number",
    "landline": "landline",
    "mobile": "mobile",
    "95": "95 number",
    "700": "700 number",
    "foreign": "foreign number",
    "minute": "min",
    "cdr": "calls",
    "number_unit": "numbers",
    "piece": "",
    "unit_of_prompt": "prompts",
    "unit_of_development_day": "person-days",
    "unit_of_support_day": "person-days",
    "about_rent": "part of a month of {whole}",
    "about_minutes": "the contract has no price for this kind",
    "about_discount": "{percent} % off {items}",
    "about_minimum": "at least {least} a month",
    "everything": "everything",
    "and": ", ",
    "pool": "Pool",
    "seconds": "Seconds",
    "included_s": "Included seconds",
    "acd_s": "ACD seconds",
    "protections": "Protected calls",
    "recordings": "Recorded calls",
    "calls_sheet": "Calls",
    "call_id": "Call",
    "part": "Part",
    "order_ref": "Order",
    "begins_at": "Begins at",
    "prices": "Prices a minute",
    "unit": "Unit",
    "note": "Note",
}
_CHINESE: Final = {
    "invoice": "账单",
    "credit_note": "红字账单",
    "draft": "草稿 · 尚未开出",
    "void": "已作废",
    "to": "客户",
    "number": "账单编号",
    "month": "计费月份",
    "issued": "开出日期",
    "contract": "合同",
    "standard": "标准资费",
    "corrects": "冲减账单",
    "currency": "币种",
    "usage": "每日用量",
    "peak": "最高日：{day}，{minutes} 分钟，{calls} 次通话",
    "lines": "费用明细",
    "item": "费用名称",
    "quantity": "数量",
    "price": "单价（元）",
    "amount": "金额（元）",
    "net": "不含税金额",
    "vat": "增值税",
    "gross": "应付合计",
    "page": "第",
    "by_application": "按应用",
    "by_kind": "按号码类型",
    "by_number": "按号码",
    "by_day": "按日",
    "application": "应用",
    "no_application": "无",
    "kind": "号码类型",
    "day": "日期",
    "calls": "话单数",
    "minutes_used": "计费分钟",
    "included": "套餐内分钟",
    "total": "金额（元）",
    "rents": "号码费",
    "used": "使用费",
    "number_title": "号码",
    "more_numbers": "其余 {more} 个号码见明细文件（CSV、XLSX、JSON）。",
    "levels": "按应用、类型、号码的金额不含人工录入项目、折扣和最低消费；按日金额不含号码费。",
    "rent": "号码费",
    "included_minutes": "号码费内含通话",
    "minutes": "通信费",
    "acd": "智能路由转接 ACD",
    "number_protection": "号码保护",
    "recording": "录音",
    "prompt": "IVR 录制铃音",
    "development_day": "定制化接口开发和服务",
    "support_day": "现场支持",
    "adjustment": "调整",
    "correction": "往月更正",
    "discount": "折扣",
    "minimum": "最低消费补足",
    "rounding": "尾差",
    "credit": "冲减",
    "400": "400 号码",
    "landline": "固话 DID",
    "mobile": "移动号码",
    "95": "95 号码",
    "700": "700 号码",
    "foreign": "境外号码",
    "minute": "分钟",
    "cdr": "话单",
    "number_unit": "个",
    "piece": "",
    "unit_of_prompt": "条",
    "unit_of_development_day": "人日",
    "unit_of_support_day": "人日",
    "about_rent": "不足整月，整月 {whole} 元",
    "about_minutes": "合同未约定此类号码的单价",
    "about_discount": "{items}优惠 {percent}%",
    "about_minimum": "每月最低消费 {least} 元",
    "everything": "全部费用",
    "and": "、",
    "pool": "号码池",
    "seconds": "计费秒数",
    "included_s": "套餐内秒数",
    "acd_s": "ACD 秒数",
    "protections": "号码保护话单数",
    "recordings": "录音话单数",
    "calls_sheet": "话单明细",
    "call_id": "话单编号",
    "part": "分段",
    "order_ref": "订单",
    "begins_at": "开始时间",
    "prices": "每分钟单价",
    "unit": "单位",
    "note": "备注",
}
WORDS: Final = {Language.ENGLISH: _ENGLISH, Language.CHINESE: _CHINESE}

_DIGITS: Final = "零壹贰叁肆伍陆柒捌玖"
_PLACES: Final = ("", "拾", "佰", "仟")
_GROUPS: Final = ("", "万", "亿", "兆")


def capital_amount(cents: int) -> str:
    """An amount in Chinese capital figures, as invoices carry it against forgery: 壹佰贰拾元叁角整."""
    sign = "负" if cents < 0 else ""
    yuan, rest = divmod(abs(cents), 100)
    jiao, fen = divmod(rest, 10)
    text = f"{_integer(yuan)}元" if yuan else ""
    if not rest:
        return f"{sign}{text or '零元'}整"
    if jiao:
        text += f"{_DIGITS[jiao]}角"
    elif yuan:
        text += "零"
    return f"{sign}{text}{_DIGITS[fen]}分" if fen else f"{sign}{text}整"


def _integer(number: int) -> str:
    text, zero = "", False
    digits = str(number)
    for place, digit in enumerate(digits):
        rest = len(digits) - 1 - place
        if digit == "0":
            zero = True
        else:
            text += ("零" if zero and text else "") + _DIGITS[int(digit)] + _PLACES[rest % 4]
            zero = False
        if rest % 4 == 0 and int(digits[max(0, place - 3) : place + 1]):
            text += _GROUPS[rest // 4]
    return text


def unit(line: Mapping[str, Any]) -> str | None:
    """The word for what a line of an invoice's document counts; None where it counts nothing."""
    if line["unit"] == "number":
        return "number_unit"
    named = f"unit_of_{line['item']}"
    if line["unit"] is None or named not in _ENGLISH:
        return None if line["unit"] is None else str(line["unit"])
    return named


def counted(line: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The word for what such a line counts, as it stands behind the line's quantity; may be empty."""
    word = words[unit(line) or "piece"]
    return word.removesuffix("s") if words is _ENGLISH and line["quantity"] == "1" else word


def said(line: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The note of such a line: what people wrote, or what the platform says, in the words' language."""
    about = line.get("about")
    if about is None:
        return line["note"] or ""
    if "items" in about:
        items = words["and"].join(words[item] for item in about["items"].split())
        about = {**about, "items": items}
    return words[f"about_{line['item']}"].format(**about)
