"""The NetworkPolicies of charts/eventpipeline allow the arrows that are written here, and no other.

They are held against this table by an evaluator (tests/network_policies.py), not by a network plugin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import chart_rendering as charts
from network_policies import Pod, Port, allowed, arrows

PORTS = (
    *(Port(number) for number in (53, 443, 3000, 3001, 3003, 4222, 5432, 6222, 8080, 8222)), Port(53, "UDP"),
)  # fmt: skip
OPERATOR = {"app.kubernetes.io/name": "eventpipeline-operator"}
OUTSIDERS = (
    Pod("world", None),
    Pod("operator", "eventpipeline-system", OPERATOR),
    Pod("prometheus", "monitoring", {"app": "prometheus"}),
    Pod("neighbour", charts.NAMESPACE, {"app": "shop"}),
    Pod("stranger", "elsewhere", {"app": "x"}),
    # Labels of the operator in another namespace, and its namespace with other labels, open nothing.
    Pod("pretender", "elsewhere", OPERATOR),
    Pod("lodger", "eventpipeline-system", {"app": "x"}),
)
OUTSIDE = [pod.name for pod in OUTSIDERS]
COMPONENTS = ("gateway", "collector", "reporter", "maintain", "nats", "postgres")

# Who may speak to whom. `outside`: all of OUTSIDERS; `anywhere`: everyone there is.
DATA = """
    outside -> gateway:3000             senders, and the Ingress they come through
    outside -> reporter:3003            readers, likewise
    gateway -> nats:4222
    collector -> nats:4222
    collector -> postgres:5432
    reporter -> nats:4222               how far collectors are behind
    reporter -> postgres:5432
    reporter -> gateway:3000            dead letters that are replayed
    maintain -> postgres:5432           and the backup, which has its labels
    operator -> nats:4222               looks at the streams, and puts them back
    operator -> collector:3001          asks what one waits for that is not ready
    prometheus -> collector:3001
"""
DNS = """
    {0} -> outside:53                   wherever the cluster has its DNS
    {0} -> outside:53/UDP
"""
SERVICES_DNS = "".join(DNS.format(name) for name in ("gateway", "collector", "reporter", "maintain"))
ANYWHERE = """
    {0} -> outside:any                  somebody else's server may be anywhere, on any port
    {0} -> gateway:3000                 which everyone may reach
    {0} -> reporter:3003
"""


def _without(*names: str) -> str:
    return "\n".join(line for line in DATA.splitlines() if not any(f"-> {name}" in line for name in names))


def _anywhere(*names: str) -> str:
    return "".join(map(ANYWHERE.format, names))


TABLE: dict[str, str] = {
    "minimal": DATA + SERVICES_DNS,
    "backup": DATA + SERVICES_DNS,
    "senders": DATA + SERVICES_DNS,
    "three servers": DATA + SERVICES_DNS + DNS.format("nats") + "nats -> nats:6222",
    # The provider of tokens may be anywhere.
    "readers": DATA + SERVICES_DNS + _anywhere("reporter"),
    # The gateway has nothing to do with the Postgres of somebody else.
    "external store": _without("postgres") + SERVICES_DNS + _anywhere("collector", "reporter", "maintain"),
    "external": _without("postgres", "nats") + SERVICES_DNS + _anywhere("gateway", "collector", "reporter", "maintain"),
}


def written(table: str) -> set[str]:
    """The table as `arrows` writes it."""
    found = set()
    for line in filter(None, (line.strip() for line in table.splitlines())):
        source, _, rest = line.split()[0], *line.split()[1:3]
        target, _, port = rest.partition(":")
        for one in OUTSIDE if source == "outside" else [source]:
            for other in OUTSIDE if target == "outside" else [target]:
                found |= {f"{one} -> {other}:{number}" for number in (PORTS if port == "any" else [port])}
    return found


def pods(found: list[dict[str, Any]]) -> list[Pod]:
    """One of each component, as the chart labels it."""
    made = {}
    for _, template in charts.templates(found):
        labels = template["metadata"]["labels"]
        ports = {
            port["name"]: port["containerPort"]
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
        }
        component = labels["app.kubernetes.io/component"]
        made[component] = Pod(component, charts.NAMESPACE, labels, ports)
    return list(made.values())


def policies(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in found if item["kind"] == "NetworkPolicy"]


def between(found: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> set[str]:
    """What is allowed, but for what those who are nobody's business do among themselves."""
    everything = arrows(chosen, [*pods(found), *OUTSIDERS], PORTS)
    ours = set(COMPONENTS)
    return {one for one in everything if {one.split()[0], one.split()[2].partition(":")[0]} & ours}


@pytest.mark.parametrize("variant", TABLE)
def test_the_arrows_of_the_table_are_allowed_and_no_other(variant: str) -> None:
    found = charts.objects(variant)
    allowed_now, wanted = between(found, policies(found)), written(TABLE[variant])
    assert allowed_now - wanted == set(), "a hole"
    assert wanted - allowed_now == set(), "an arrow that is cut"


def test_every_pod_is_restricted_both_ways() -> None:
    for variant in charts.VARIANTS:
        found = charts.objects(variant)
        for pod in pods(found):
            nobody = Pod("nobody", charts.NAMESPACE, {})
            assert not allowed(policies(found), nobody, pod, Port(9)), (variant, pod.name)
            if not charts.pipeline(charts.VARIANTS[variant]).spec.store.external and pod.name != "reporter":
                assert not allowed(policies(found), pod, nobody, Port(9)), (variant, pod.name)


def test_a_second_pipeline_of_the_namespace_is_a_stranger() -> None:
    found = charts.objects("minimal")
    for pod in pods(found):
        other = Pod("other", charts.NAMESPACE, {**pod.labels, "app.kubernetes.io/instance": "second"})
        reached = {
            (target.name, port.number)
            for target in pods(found)
            for port in PORTS
            if allowed(policies(found), other, target, port)
        }
        assert reached == {("gateway", 3000), ("reporter", 3003)}


def of(chosen: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (policy,) = (one for one in chosen if one["metadata"]["name"] == f"{charts.NAME}-{name}")
    return policy["spec"]  # type: ignore[no-any-return]


def _anyone_to_nats(chosen: list[dict[str, Any]]) -> None:
    del of(chosen, "nats")["ingress"][0]["from"]


def _the_namespace_to_postgres(chosen: list[dict[str, Any]]) -> None:
    of(chosen, "postgres")["ingress"][0]["from"] = [{"podSelector": {}}]


def _no_policy_of_postgres(chosen: list[dict[str, Any]]) -> None:
    chosen[:] = [one for one in chosen if one["metadata"]["name"] != f"{charts.NAME}-postgres"]


def _the_gateway_anywhere(chosen: list[dict[str, Any]]) -> None:
    of(chosen, "gateway")["egress"].append({})


def _the_gateway_to_postgres(chosen: list[dict[str, Any]]) -> None:
    of(chosen, "gateway")["egress"] += of(chosen, "collector")["egress"]
    of(chosen, "postgres")["ingress"][0]["from"] += [{"podSelector": of(chosen, "gateway")["podSelector"]}]


def _either_of_what_should_be_both(chosen: list[dict[str, Any]]) -> None:
    """A dash too many: the operator's namespace, or its labels."""
    peers = of(chosen, "nats")["ingress"][0]["from"]
    both = next(peer for peer in peers if "namespaceSelector" in peer)
    peers += [{"namespaceSelector": both["namespaceSelector"]}, {"podSelector": both["podSelector"]}]


def _every_port_of_nats(chosen: list[dict[str, Any]]) -> None:
    del of(chosen, "nats")["ingress"][0]["ports"]


def _only_what_comes_in(chosen: list[dict[str, Any]]) -> None:
    of(chosen, "collector")["policyTypes"] = ["Ingress"]


@pytest.mark.parametrize(
    ("plant", "hole"),
    [
        (_anyone_to_nats, "stranger -> nats:4222"),
        (_the_namespace_to_postgres, "neighbour -> postgres:5432"),
        (_no_policy_of_postgres, "world -> postgres:5432"),
        (_the_gateway_anywhere, "gateway -> world:443"),
        (_the_gateway_to_postgres, "gateway -> postgres:5432"),
        (_either_of_what_should_be_both, "lodger -> nats:4222"),
        (_every_port_of_nats, "operator -> nats:8222"),
        (_only_what_comes_in, "collector -> world:443"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_a_planted_hole_is_found(plant: Callable[[list[dict[str, Any]]], None], hole: str) -> None:
    found = charts.objects("minimal")
    chosen = copy.deepcopy(policies(found))
    assert hole not in between(found, chosen)
    plant(chosen)
    assert hole in between(found, chosen)


@pytest.mark.parametrize(
    "peer",
    [
        {"ipBlock": {"cidr": "0.0.0.0/0"}},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        {"podSelector": {}, "namespaces": []},
    ],
    ids=str,
)
def test_a_form_that_the_evaluator_does_not_know_is_an_error(peer: dict[str, Any]) -> None:
    found = charts.objects("minimal")
    chosen = copy.deepcopy(policies(found))
    of(chosen, "postgres")["ingress"][0]["from"] = [peer]
    with pytest.raises(NotImplementedError):
        between(found, chosen)
