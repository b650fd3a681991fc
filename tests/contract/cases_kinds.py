"""What is special about the built-in kinds that meshca writes."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from meshca.api.names import (
    CLUSTER_TRUST_BUNDLE,
    CONFIG_MAP,
    EVENT,
    LEASE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
    VALIDATING_BINDING,
)
from meshca.api.v1alpha1.scalars import parse_time
from meshca.clock import SystemClock
from meshca.errors import InvalidError, MisconfiguredError, NotFoundError
from meshca.kube.events import EventRecorder
from meshca.kube.lease import Elector, Terms
from tests.contract.harness import WIDGET, Contract, case

# Shorter than in life, yet long enough for a busy server.
TERMS = Terms(duration=6, renew_deadline=4.0, retry_period=0.3)
RENEWALS = 6
# A real self-signed certificate: the API server looks into it.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUJAazKtzDi+rsfImdcltmXj83uewwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIY29udHJhY3QwIBcNMjYxMTIzMDcxNDQ5WhgPMjEyNjEwMzAw
NzE0NDlaMBMxETAPBgNVBAMMCGNvbnRyYWN0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAELdFyNzk4/qlnaPLjie31ejGk8ZM6v9O1spRV1AzzidLq5pJ4UrOFTv9h
/DL3aqubtvjHbfxApiexDoY7Ok/WEaNTMFEwHQYDVR0OBBYEFE/pizuJxn7b2Mz3
p7dUDElCFI+kMB8GA1UdIwQYMBaAFE/pizuJxn7b2Mz3p7dUDElCFI+kMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAJDe1a2ezmsTLr4V/DBsAJ1e
we3pQ/7xH0BLRacEvdMBAiB8aQTCfAbITD9/5Zv5xdwB2svM+SJ8zFNKyGeLPkDc
Ew==
-----END CERTIFICATE-----
"""


@case
async def a_tls_secret_has_both_keys(c: Contract) -> None:
    with pytest.raises(InvalidError):
        await c.secret("t", type="kubernetes.io/tls", data={"tls.crt": "QQ=="})
    await c.secret("t", type="kubernetes.io/tls", data={"tls.crt": "QQ==", "tls.key": "QQ=="})
    with pytest.raises(InvalidError):
        await c.gateway.patch(SECRET, "t", c.namespace, {"data": {"tls.key": None}})
    with pytest.raises(InvalidError):
        await c.gateway.patch(SECRET, "t", c.namespace, {"type": "Opaque"})


@case
async def a_token_names_its_account_and_its_end(c: Contract) -> None:
    account = {"metadata": {"name": "speaker", "namespace": c.namespace}}
    made = await c.gateway.create(SERVICE_ACCOUNT, account)
    found = await c.gateway.token("speaker", c.namespace, seconds=1200)
    body = found["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    about = claims["kubernetes.io"]
    assert (about["namespace"], about["serviceaccount"]["name"]) == (c.namespace, "speaker")
    assert about["serviceaccount"]["uid"] == made["metadata"]["uid"]
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (
        f"system:serviceaccount:{c.namespace}:speaker",
        1200,
    )
    assert int(parse_time(found["expirationTimestamp"]).timestamp()) == claims["exp"]
    with pytest.raises(InvalidError):
        await c.gateway.token("speaker", c.namespace, seconds=599)
    with pytest.raises(NotFoundError):
        await c.gateway.token("nobody", c.namespace, seconds=1200)


@case
async def a_binding_keeps_its_role(c: Contract) -> None:
    group = "rbac.authorization.k8s.io"
    ref = {"apiGroup": group, "kind": "ClusterRole", "name": "view"}
    subject = {"kind": "User", "apiGroup": group, "name": "somebody"}
    body = {"metadata": {"name": "b", "namespace": c.namespace}, "roleRef": ref, "subjects": [subject]}
    await c.gateway.create(ROLE_BINDING, body)
    await c.gateway.patch(ROLE_BINDING, "b", c.namespace, {"subjects": []})
    with pytest.raises(InvalidError):
        await c.gateway.patch(ROLE_BINDING, "b", c.namespace, {"roleRef": {"name": "edit"}})


@case
async def secret_data_is_base64(c: Contract) -> None:
    with pytest.raises(InvalidError):
        await c.secret("s", data={"a": "***"})
    made = await c.secret("s", data={"a": "QQ=="}, stringData={"b": "B"})
    assert made["data"] == {"a": "QQ==", "b": "Qg=="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


@case
async def an_immutable_secret_keeps_its_data(c: Contract) -> None:
    await c.secret(immutable=True)
    with pytest.raises(InvalidError):
        await c.gateway.patch(SECRET, "s", c.namespace, {"data": {"a": "Qg=="}})
    await c.gateway.patch(SECRET, "s", c.namespace, {"metadata": {"labels": {"l": "1"}}})


@case
async def a_config_map_holds_text(c: Contract) -> None:
    with pytest.raises(InvalidError):
        await c.gateway.create(
            CONFIG_MAP, {"metadata": {"name": "m", "namespace": c.namespace}, "data": {"a": 1}}
        )


@case
async def a_lease_lasts_longer_than_nothing(c: Contract) -> None:
    body = {"metadata": {"name": "l", "namespace": c.namespace}, "spec": {"leaseDurationSeconds": 0}}
    with pytest.raises(InvalidError):
        await c.gateway.create(LEASE, body)


@case
async def a_trust_bundle_is_named_after_its_signer(c: Contract) -> None:
    try:
        await c.gateway.list(CLUSTER_TRUST_BUNDLE)
    except MisconfiguredError:
        pytest.skip("this version has no ClusterTrustBundle v1")
    spec = {"signerName": "contract.test/s", "trustBundle": CERTIFICATE}
    good = c.name("contract.test:s:b")
    with pytest.raises(InvalidError):
        await c.gateway.create(CLUSTER_TRUST_BUNDLE, {"metadata": {"name": c.name("b")}, "spec": spec})
    with pytest.raises(InvalidError):
        await c.gateway.create(
            CLUSTER_TRUST_BUNDLE, {"metadata": {"name": good}, "spec": spec | {"trustBundle": "none"}}
        )
    made = await c.gateway.create(CLUSTER_TRUST_BUNDLE, {"metadata": {"name": good}, "spec": spec})
    assert "generation" not in made["metadata"]
    with pytest.raises(InvalidError):
        await c.gateway.patch(CLUSTER_TRUST_BUNDLE, good, "", {"spec": {"signerName": "contract.test/x"}})
    await c.delete(made, CLUSTER_TRUST_BUNDLE)


@case
async def policy_bindings_have_a_generation(c: Contract) -> None:
    body = {
        "metadata": {"name": c.name("contract")},
        "spec": {"policyName": "none", "validationActions": ["Deny"]},
    }
    made = await c.gateway.create(VALIDATING_BINDING, body)
    assert made["metadata"]["generation"] == 1
    done = await c.gateway.patch(
        VALIDATING_BINDING, made["metadata"]["name"], "", {"spec": {"validationActions": ["Warn"]}}
    )
    assert done["metadata"]["generation"] == 2
    await c.delete(made, VALIDATING_BINDING)


@case
async def recorded_events_become_a_series(c: Contract) -> None:
    widget = await c.widget()
    recorder = EventRecorder(c.gateway, SystemClock(), instance="pod-1")
    task = asyncio.create_task(recorder.run())
    try:
        for _ in range(2):
            recorder.record(widget, kind="Warning", reason="Tested", note="ä" * 1000)
        async with asyncio.timeout(60):
            await recorder.drain()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    (event,) = [item for item in await c.gateway.list(EVENT, c.namespace) if item.get("reason") == "Tested"]
    assert event["regarding"]["uid"] == widget["metadata"]["uid"]
    assert event["series"]["count"] == 2
    assert event["type"] == "Warning"


@case
async def an_event_needs_its_fields(c: Contract) -> None:
    body = {"metadata": {"name": "e", "namespace": c.namespace}, "type": "Normal", "reason": "R"}
    with pytest.raises(InvalidError):
        await c.gateway.create(EVENT, body)


@case
async def one_candidate_leads_and_hands_over(c: Contract) -> None:
    def candidate(identity: str) -> Elector:
        return Elector(
            c.gateway, namespace=c.namespace, name="lead", identity=identity, clock=SystemClock(), terms=TERMS
        )

    first, second = candidate("first"), candidate("second")
    tasks = [asyncio.create_task(first.run())]
    try:
        async with asyncio.timeout(60):
            await first.acquired.wait()
            tasks.append(asyncio.create_task(second.run()))
            await asyncio.sleep(TERMS.duration * 1.2)
            assert first.is_leader
            assert not second.is_leader
            tasks[0].cancel()
            await asyncio.gather(tasks[0], return_exceptions=True)
            await first.release()
            await second.acquired.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    lease = await c.get("lead", LEASE)
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == 2
    assert not first.is_leader


@case
async def the_first_candidates_do_not_both_lead(c: Contract) -> None:
    electors = [
        Elector(
            c.gateway, namespace=c.namespace, name="race", identity=f"e{n}", clock=SystemClock(), terms=TERMS
        )
        for n in range(4)
    ]
    tasks = [asyncio.create_task(elector.run()) for elector in electors]
    try:
        await c.eventually(lambda: _any_leads(electors))
        # Meanwhile every loser has asked for it several times.
        renewals: set[str] = set()
        while len(renewals) < RENEWALS:
            renewals.add((await c.get("race", LEASE))["spec"]["renewTime"])
            assert sum(elector.is_leader for elector in electors) == 1
            await asyncio.sleep(TERMS.retry_period / 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _any_leads(electors: list[Elector]) -> bool:
    return any(elector.is_leader for elector in electors)


@case
async def widgets_keep_their_uid_through_all_writes(c: Contract) -> None:
    made = await c.widget()
    patched = await c.gateway.patch(WIDGET, "w", c.namespace, {"spec": {"size": 2}})
    applied = await c.gateway.apply(WIDGET, c.body("w", size=3))
    assert made["metadata"]["uid"] == patched["metadata"]["uid"] == applied["metadata"]["uid"]
