"""A leaky phone must really leak, everywhere: else the tests of masking would prove nothing."""

from tests.simulator.line import B_NUMBER, Line

from xiaohao.simulator.behaviour import Behaviour

LEAKY = Behaviour(leaky_headers=True)


def headers_with(raw: bytes, secret: str) -> set[str]:
    lines = raw.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    return {line.partition(":")[0].lower() for line in lines if secret in line}


def sdp_lines_with(raw: bytes, secret: str) -> set[str]:
    return {line[:2] for line in raw.decode().partition("\r\n\r\n")[2].split("\r\n") if secret in line}


async def test_leaky_caller(line: Line):
    line.a.behaviour = LEAKY
    call, far = await line.talk()
    invite = far.messages[0].raw
    national = line.a.number[3:]
    assert {
        "from",
        "contact",
        "p-asserted-identity",
        "p-preferred-identity",
        "remote-party-id",
        "call-info",
        "user-agent",
        "subject",
        "organization",
        "diversion",
        "history-info",
        "reply-to",
        "x-subscriber",
    } <= headers_with(invite, national)
    assert sdp_lines_with(invite, national) == {"s=", "i=", "u=", "e=", "p=", "a="}
    assert line.a.name in invite.decode()
    assert far.display_name == line.a.name
    await call.hang_up()
    bye = next(logged.raw for logged in far.messages if logged.raw.startswith(b"BYE"))
    assert "reason" in headers_with(bye, national)


async def test_leaky_callee(line: Line):
    call, _ = await line.talk(LEAKY)
    national = B_NUMBER[3:]
    for start in (b"SIP/2.0 180", b"SIP/2.0 200"):
        response = next(logged.raw for logged in call.messages if logged.raw.startswith(start))
        expected = {"contact", "p-asserted-identity", "remote-party-id", "server", "warning", "organization"}
        assert expected <= headers_with(response, national)
    assert sdp_lines_with(response, national) == {"s=", "i=", "u=", "e=", "p=", "a="}


async def test_discreet_phone_says_nothing_of_its_name(line: Line):
    call, far = await line.talk()
    for logged in (*call.messages, *far.messages):
        assert line.a.name.encode() not in logged.raw
        assert line.b.name.encode() not in logged.raw


async def test_identity_header_of_the_answer_changes_the_callers_screen(line: Line):
    call, _ = await line.talk(LEAKY)
    assert call.display == B_NUMBER
    assert call.display_name == line.b.name


async def test_secrets_of_a_phone(line: Line):
    call, _ = await line.talk()
    assert call.identity.secrets() == (
        line.a.number[3:],
        line.a.name,
        line.a.name.replace(" ", ""),
        line.near.host,
    )
