"""The names of OpenAPI's schemas, as people and code generators want to read them.

The libraries put the whole way of a module before a name that two rooms have:
`xiaohao__calls__model__Reason` becomes `CallsReason`, `Webhookxiaohao.calls.model.Reason` becomes
`WebhookCallsReason`.
"""

import re
from typing import Any, Final

_LONG: Final = re.compile(r"(Webhook)?xiaohao(?:__|\.)([a-z_]+?)(?:__|\.).*?([A-Z]\w*)")
_REFERENCE: Final = "#/components/schemas/"


def rename_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """The document with short names for its schemas, and the same names wherever it refers to them."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    names = {name: _short(name) for name in schemas}
    for name, schema in schemas.items():
        if "__Page_" in name:
            item = schema["properties"]["items"]["items"]["$ref"].removeprefix(_REFERENCE)
            names[name] = f"Page_{_short(item)}_"
    if len(set(names.values())) < len(names):
        raise ValueError("two schemas would have one name")
    renamed: dict[str, Any] = _with_names(document, names)
    renamed["components"]["schemas"] = {
        names[name]: schema for name, schema in renamed["components"]["schemas"].items()
    }
    return renamed


def _short(name: str) -> str:
    if (match := _LONG.fullmatch(name)) is not None:
        return f"{match[1] or ''}{match[2].title().replace('_', '')}{match[3]}"
    return name.replace("-", "")


def _with_names(part: Any, names: dict[str, str]) -> Any:
    if isinstance(part, dict):
        return {
            key: _reference(value, names) if key == "$ref" else _with_names(value, names)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_with_names(item, names) for item in part]
    return part


def _reference(reference: Any, names: dict[str, str]) -> Any:
    if not isinstance(reference, str):  # a field that is called so
        return _with_names(reference, names)
    name = reference.removeprefix(_REFERENCE)
    return f"{_REFERENCE}{names[name]}" if name in names else reference
