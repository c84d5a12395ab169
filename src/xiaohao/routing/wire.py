"""The one place that makes the question to a customer and reads the answer: the contract of scheme 2."""

import re
from typing import Any, Final

import msgspec

from xiaohao.clock import rfc3339, rfc3339_local
from xiaohao.routing.model import Answer

_encode = msgspec.json.Encoder().encode
_VALUE: Final = re.compile(r"'.*'", re.DOTALL)
_NAME: Final = re.compile(r"`.*?`", re.DOTALL)
#: so many digits in a name and it is not shown
_LIKE_A_NUMBER: Final = 7

_answer_of = msgspec.json.Decoder(Answer).decode


class QuestionData(msgspec.Struct, frozen=True):
    """Which call it is about. Moments are RFC 3339, UTC, milliseconds."""

    call_id: str
    #: real number of who calls; null where it is withheld
    caller: str | None
    #: the platform number that was dialled
    dialled: str
    received_at: str
    #: of the binding that the two have, if they have one
    binding_id: str | None
    order_ref: str | None
    #: by then the answer must be there, in ms from the POST on
    answer_within_ms: int
    #: true: nobody calls, somebody tries the URL
    test: bool = False
    #: which question about this call it is: from 2 on the caller waits
    attempt: int = 1
    #: in which queue, by what was answered last; null: in none
    queue: str | None = None
    waited_ms: int = 0
    #: after so long without another answer they wait no longer; null: they do not wait
    wait_left_ms: int | None = None


class Question(msgspec.Struct, frozen=True):
    """The body of the POST."""

    id: str
    type: str
    timestamp: str
    timestamp_local: str
    data: QuestionData


class NotUnderstood(Exception):
    """The answer is not as the contract has it. The text says why and where; it quotes no number."""


def question_id(call_id: str, attempt: int = 1) -> str:
    """`webhook-id` of a question: `rtq_` and the call's id without dashes, and behind it which one it is."""
    again = f"_{attempt}" if attempt > 1 else ""
    return f"rtq_{call_id.replace('-', '')}{again}"


def question(data: QuestionData, now: int) -> tuple[str, str]:
    """The id of a question and its JSON; `now` in microseconds."""
    name = question_id(data.call_id, data.attempt)
    document = Question(name, "routing.asked", rfc3339(now), rfc3339_local(now), data)
    return name, _encode(document).decode()


def read_answer(body: bytes) -> Answer:
    """The answer of a customer. Raises NotUnderstood."""
    try:
        answer: Answer = _answer_of(body)
    except msgspec.ValidationError as error:
        raise NotUnderstood(_without_values(str(error))) from None
    except UnicodeDecodeError:
        raise NotUnderstood("the text is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise NotUnderstood("the text is not JSON") from None
    return answer


def _without_values(text: str) -> str:
    """A decoder's words without what they quote: that may be a person's number in the wrong place."""

    def shown(name: re.Match[str]) -> str:
        return "`…`" if sum(map(str.isdigit, name[0])) >= _LIKE_A_NUMBER else name[0]

    return _NAME.sub(shown, _VALUE.sub("'…'", text))[:300]


def write_answer(answer: Answer) -> str:
    """The JSON of an answer; the inverse of `read_answer`."""
    return _encode(answer).decode()


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of question and answer, as it is published in docs/routing.schema.json."""
    references, components = msgspec.json.schema_components((Question, Answer), ref_template="#/$defs/{name}")
    # what the generator does not say: which keys a dict may have
    prompts = components["Connect"]["properties"]["prompts"]["anyOf"][0]
    prompts["propertyNames"] = {"$ref": "#/$defs/PromptMoment"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xiaohao: the customer decides each call",
        "description": "What is POSTed is a `question`; the body of the 2xx answer is an `answer`.",
        "type": "object",
        "properties": {"question": references[0], "answer": references[1]},
        "$defs": components,
    }
