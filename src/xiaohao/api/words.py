"""What is wrong with a field, in plain words: none of the validating library's own, and never the value."""

from collections.abc import Mapping
from typing import Any, Final

#: by the library's name of the fault; `{…}` are limits that the API's description tells, too
_WORDS: Final = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "extra_forbidden": "there is no such field",
    "none_required": "must be null",
    "string_type": "must be text",
    "string_unicode": "has half of a surrogate pair, which is no character",
    "string_too_short": "must have {min_length} characters at least",
    "string_too_long": "must have {max_length} characters at most",
    "too_short": "must have {min_length} items at least",
    "too_long": "must have {max_length} items at most",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not so large a one",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dataclass_type": "must be a JSON object",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "multiple_of": "must be a multiple of {multiple_of}",
}
#: characters that a text may consist of, by the pattern that says so
_PATTERNS: Final = {
    r"^[^\x00]*$": "must not have the character U+0000",
    r"^[^\x00-\x08]*$": "must not have control characters",
    r"^[^\x00-\x1f\x7f]*$": "must be one line, without control characters",
    r"^[A-Za-z0-9_-]*$": "must consist of letters, digits, _ and -",
    r"^[a-z_]*$": "must consist of small letters and _",
    r"^[1-9][0-9]{1,2}$": "must be an area code without its 0, as in 10 or 755",
    r"^[0-9]{2,4}$": "must be an area code",
    r"^[0-9]{1,6}$": "must be one to six digits",
    r"^[0-9]*$": "must be digits",
    r"^\+[0-9]{1,10}$": "must be + and digits, as in +86170",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "must be a day, as in 2027-02-08",
    r"^https?://[!-~]+$": "must be an http or https URL",
    r"^-?[0-9]{1,9}(\.[0-9]{1,6})?$": "must be an amount as text, as in 1000.00",
    r"^[0-9]{1,9}(\.[0-9]{1,6})?$": "must be an amount as text, 0 or more, as in 1000.00",
    r"^(svg|png)$": "must be svg or png",
    r"^[A-Za-z0-9.:_\[\]-]+$": "must be a host name or an address",
    r"^[0-9A-Fa-f.:/]+$": "must be an address, or a network as in 192.0.2.0/24",
    r"^[!#-&(-\[\]-~]*$": "must be of ASCII characters, without spaces, quotes and backslashes",
    r"^whsec_[A-Za-z0-9+/=]+$": "must be whsec_ and base64",
    r"^[a-z0-9][a-z0-9_.-]{0,63}$": "must be small letters, digits, _, . and -, 64 at most",
}


def words_of(item: Mapping[str, Any]) -> str:
    """The words for one of the errors of a `ValidationError`. Only the rule is told, never the input."""
    kind, context = str(item["type"]), item.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(item["msg"]).partition(", ")[2]  # ours, behind the library's "Value error"
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return _PATTERNS.get(pattern, f"must look like {pattern}")
    if context.get("min_length") == 1:
        return "must not be empty"
    words = _WORDS.get(kind, "cannot be used")
    # what the context of an error may hold besides limits is the input's: those are named in `_WORDS` only
    return words.format_map({name: _limit(value) for name, value in context.items()})


def _limit(value: Any) -> str:
    return str(value).replace(" or ", ", ") if isinstance(value, str) else str(value)
