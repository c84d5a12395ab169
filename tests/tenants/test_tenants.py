"""Customers, their webhooks and everybody's keys."""

import re
from base64 import b64decode, b64encode

import pytest
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook as StandardWebhook
from tests.world import World

from xiaohao.database.schema import api_keys, customers
from xiaohao.errors import Refusal
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.tenants.model import CustomerState
from xiaohao.tenants.service import Tenants


async def test_a_customer_is_there_after_it_was_made(world: World) -> None:
    made = await world.tenants.create_customer("Ride", "https://ride.example/hook")
    assert await world.tenants.get_customer(made.id) == made
    assert made.state is CustomerState.ACTIVE
    assert made.id.startswith("cus_")


async def test_suspend_and_resume_can_be_repeated(world: World) -> None:
    customer = await world.customer()
    world.clock.forward(1)
    for _ in range(2):
        suspended = await world.tenants.suspend(customer.id)
        assert suspended.state is CustomerState.SUSPENDED
    assert suspended.updated_at == world.clock.now
    for _ in range(2):
        assert (await world.tenants.resume(customer.id)).state is CustomerState.ACTIVE


async def test_rename(world: World) -> None:
    customer = await world.customer()
    assert (await world.tenants.rename(customer.id, "Rides")).name == "Rides"


async def test_pages_show_everybody_once(world: World) -> None:
    made = {(await world.customer(f"c{place}")).id for place in range(5)}
    seen: list[str] = []
    while page := await world.tenants.page_customers(seen[-1] if seen else "", 2):
        seen += [customer.id for customer in page]
    assert seen == sorted(made)


@pytest.mark.parametrize("use", ["get_customer", "suspend", "resume", "set_webhook_secret", "webhook_secret"])
async def test_a_customer_who_is_not_there(world: World, use: str) -> None:
    with pytest.raises(Refusal) as refused:
        await getattr(world.tenants, use)("cus_nobody")
    assert (refused.value.code, refused.value.status) == ("not_found", 404)


async def test_a_webhook_has_url_and_secret(world: World) -> None:
    customer = await world.customer()
    assert await world.tenants.webhook(customer.id) is None
    await world.tenants.set_webhook(customer.id, "http://127.0.0.1:9000/hook")
    webhook = await world.tenants.webhook(customer.id)
    assert webhook is not None
    assert webhook.url == "http://127.0.0.1:9000/hook"
    assert webhook.secrets[0] == await world.tenants.webhook_secret(customer.id)
    assert len(b64decode(webhook.secrets[0].removeprefix("whsec_"))) == 32
    StandardWebhook(webhook.secrets[0])  # a receiver's library takes it as it is
    assert webhook.secrets[0] not in repr(webhook)
    await world.tenants.set_webhook(customer.id, None)
    assert await world.tenants.webhook(customer.id) is None


async def test_a_webhook_secret_can_be_changed(world: World) -> None:
    customer = await world.tenants.create_customer("Ride", "https://ride.example/hook")
    before = await world.tenants.webhook_secret(customer.id)
    renewed = await world.tenants.set_webhook_secret(customer.id)
    assert renewed != before
    own = "whsec_" + b64encode(bytes(24)).decode()
    assert await world.tenants.set_webhook_secret(customer.id, own) == own
    assert (await world.tenants.webhook(customer.id)).secrets == (own,)  # type: ignore[union-attr]


async def test_the_secret_before_signs_too_for_a_while(world: World) -> None:
    customer = await world.tenants.create_customer("Ride", "https://example.com/")
    first = await world.tenants.webhook_secret(customer.id)
    second = await world.tenants.set_webhook_secret(customer.id, overlap_s=60)
    webhook = await world.tenants.webhook(customer.id)
    assert webhook is not None
    assert webhook.secrets == (second, first)
    assert second not in repr(webhook) and first not in repr(webhook)
    world.clock.forward(61)
    later = await world.tenants.webhook(customer.id)
    assert later is not None
    assert later.secrets == (second,)
    assert (await world.tenants.webhook_plan(customer.id)).old_secret_until is None


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!!", "whsec_" + "A" * 20, "A" * 44, "whsec_" + "A" * 88]
)
async def test_a_webhook_secret_of_another_form_is_refused(world: World, secret: str) -> None:
    customer = await world.customer()
    with pytest.raises(Refusal, match="whsec_"):
        await world.tenants.set_webhook_secret(customer.id, secret)


@pytest.mark.parametrize(
    "url",
    [
        *("", "ride.example", "ftp://ride.example", "https://", "https://ride.example/ x", "http://[::1"),
        *("http://a:0/", "http://a:99999/", "https://ride.example/\n", "https://ride.example/路"),
        "https://a/" + "x" * 2000,
    ],
)
async def test_a_webhook_url_that_nobody_can_call_is_refused(world: World, url: str) -> None:
    customer = await world.customer()
    with pytest.raises(Refusal) as refused:
        await world.tenants.set_webhook(customer.id, url)
    assert refused.value.code == "validation_failed"


async def test_the_database_shows_no_secret(world: World, vault: Vault) -> None:
    customer = await world.customer()
    _, text = await world.tenants.create_key(customer.id, "back end")
    secret = await world.tenants.webhook_secret(customer.id)
    async with world.database.read() as connection:
        sealed = (await connection.execute(select(customers.c.webhook_secret_sealed))).scalar_one()
        digest = (await connection.execute(select(api_keys.c.digest))).scalar_one()
    assert secret.encode() not in sealed
    assert len(digest) == 32 and digest not in text.encode()
    with pytest.raises(SecrecyError):
        await Tenants(world.database, Vault(bytes(32))).webhook_secret(customer.id)


async def test_a_key_says_who_is_speaking(world: World) -> None:
    customer = await world.customer()
    key, text = await world.tenants.create_key(customer.id, "back end")
    assert re.fullmatch(r"xk_cus_[0-9a-f]{64}", text)
    principal = await world.tenants.authenticate(text)
    assert (principal.key_id, principal.customer_id) == (key.id, customer.id)
    assert not principal.is_operator
    await world.tenants.suspend(customer.id)
    assert (await world.tenants.authenticate(text)).customer_state is CustomerState.SUSPENDED


async def test_the_operator_s_first_key(world: World) -> None:
    text = await world.tenants.bootstrap_operator_key()
    principal = await world.tenants.authenticate(text)
    assert principal.is_operator
    assert principal.customer_state is None
    assert [key.id for key in await world.tenants.keys(None)] == [principal.key_id]


@pytest.mark.parametrize(
    "text", ["", "xk_", "xk_cus_" + "0" * 64, "xk_op_" + "0" * 64, "Bearer x", "x" * 10_000, "\0"]
)
async def test_an_unknown_key_is_nobody(world: World, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        await world.tenants.authenticate(text)
    assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)
    assert not text or text not in str(refused.value)


async def test_a_revoked_key_is_useless_and_stays_in_the_list(world: World) -> None:
    customer = await world.customer()
    key, text = await world.tenants.create_key(customer.id, "old")
    world.clock.forward(1)
    revoked = await world.tenants.revoke_key(customer.id, key.id)
    assert revoked.revoked_at == world.clock.now
    world.clock.forward(1)
    assert await world.tenants.revoke_key(customer.id, key.id) == revoked
    with pytest.raises(Refusal, match="revoked"):
        await world.tenants.authenticate(text)
    assert await world.tenants.keys(customer.id) == [revoked]


async def test_nobody_revokes_somebody_else_s_key(world: World) -> None:
    mine, yours = await world.customer("mine"), await world.customer("yours")
    key, text = await world.tenants.create_key(yours.id, "yours")
    for owner in (mine.id, None):
        with pytest.raises(Refusal, match="no such API key"):
            await world.tenants.revoke_key(owner, key.id)
    assert (await world.tenants.authenticate(text)).customer_id == yours.id


async def test_no_key_for_nobody(world: World) -> None:
    with pytest.raises(Refusal, match="no such customer"):
        await world.tenants.create_key("cus_nobody", "label")


@pytest.mark.parametrize("label", ["13800000001", "for +86 138-0000-0001", "０１０１２３４５６７"])
async def test_a_label_is_no_telephone_number(world: World, label: str) -> None:
    with pytest.raises(Refusal) as refused:
        await world.tenants.create_key(None, label)
    assert refused.value.extra["errors"][0]["field"] == "label"
    await world.tenants.create_key(None, "2026-11, line 7")
