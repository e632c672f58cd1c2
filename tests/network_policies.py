"""Which connections NetworkPolicies allow: their documented meaning, over pods that are only described.

A form that is not known here is an error, so that none passes as harmless. What the node itself asks, such as probes,
is allowed always and not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """Who speaks or is spoken to. Without a namespace it is outside of the cluster."""

    name: str
    namespace: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """Those with a name."""


@dataclass(frozen=True)
class Port:
    number: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.number}" if self.protocol == "TCP" else f"{self.number}/{self.protocol}"


def arrows(policies: Sequence[Policy], pods: Iterable[Pod], ports: Iterable[Port]) -> set[str]:
    """Every connection that is allowed, as `source -> target:port`."""
    everyone, every_port = tuple(pods), tuple(ports)
    return {
        f"{source.name} -> {target.name}:{port}"
        for source in everyone
        for target in everyone
        for port in every_port
        if allowed(policies, source, target, port)
    }


def allowed(policies: Sequence[Policy], source: Pod, target: Pod, port: Port) -> bool:
    """Whether both ends allow it."""
    out = _rules(policies, source, "Egress")
    into = _rules(policies, target, "Ingress")
    return all(
        rules is None or any(_lets(rule, peers, other, target, port) for rule, peers in rules)
        for rules, other in ((out, target), (into, source))
    )


def _rules(policies: Sequence[Policy], pod: Pod, direction: str) -> list[tuple[Policy, list[Any]]] | None:
    """The rules that hold for a pod, each with its peers and their policy's namespace; None where all is allowed."""
    chosen = [policy for policy in policies if _selects(policy, pod) and direction in policy["spec"]["policyTypes"]]
    if not chosen:
        return None
    found: list[tuple[Policy, list[Any]]] = []
    for policy in chosen:
        _known(policy["spec"], "podSelector", "policyTypes", "ingress", "egress")
        word = "to" if direction == "Egress" else "from"
        for rule in policy["spec"].get(direction.lower()) or []:
            _known(rule, "ports", word)
            found.append((rule, [(peer, policy["metadata"]["namespace"]) for peer in rule.get(word) or []]))
    return found


def _selects(policy: Policy, pod: Pod) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and _matches(policy["spec"]["podSelector"], pod.labels)


def _lets(rule: Policy, peers: Sequence[Any], other: Pod, target: Pod, port: Port) -> bool:
    # Nothing said is everything allowed.
    peer_fits = not peers or any(_is_peer(peer, namespace, other) for peer, namespace in peers)
    ports = rule.get("ports") or []
    return peer_fits and (not ports or any(_is_port(one, target, port) for one in ports))


def _is_peer(peer: Policy, namespace: str, pod: Pod) -> bool:
    _known(peer, "namespaceSelector", "podSelector")
    if pod.namespace is None:
        return False  # only an ipBlock would name it
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace}):
            return False
    elif pod.namespace != namespace:
        return False
    return _matches(peer.get("podSelector") or {}, pod.labels)


def _is_port(one: Policy, target: Pod, port: Port) -> bool:
    _known(one, "port", "protocol")
    if one.get("protocol", "TCP") != port.protocol:
        return False
    number = one.get("port")
    return number is None or (target.ports.get(number) if isinstance(number, str) else number) == port.number


def _matches(selector: Policy, labels: Mapping[str, str]) -> bool:
    _known(selector, "matchLabels")
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def _known(part: Policy, *names: str) -> None:
    if unknown := set(part) - set(names):
        raise NotImplementedError(f"{sorted(unknown)} of a NetworkPolicy")
