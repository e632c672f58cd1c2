"""From what the watches tell to triggers; and whether the watches still tell.

A watch that goes deaf looks just like a quiet cluster. So the slow resync, which lists the pipelines anyway, compares:
a change that was listed twice, a resync apart, and that no watch has told of, means that a watch is deaf.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from eventpipeline_operator.objects import Object
from eventpipeline_operator.triggers import Target, Triggers


@dataclass
class Watching:
    triggers: Triggers
    _targets: dict[tuple[str, str], Target] = field(default_factory=dict)
    _generations: dict[str, int] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _untold: dict[str, int] = field(default_factory=dict)
    _missing: set[Target] = field(default_factory=set)

    def pipeline(self, namespace: str, name: str, uid: str, generation: int, digest: str, *, gone: bool) -> None:
        """A watch told of a pipeline; a change of its status alone triggers nothing."""
        target = Target(namespace, name, uid)
        if gone:
            self._generations.pop(uid, None)
            self._digests.pop(uid, None)
            if self._targets.get((namespace, name)) == target:
                del self._targets[namespace, name]
            self.triggers.add(target)  # the pass closes what is open for it
            return
        self._know(target)
        known = (self._generations.get(uid), self._digests.get(uid))
        self._generations[uid], self._digests[uid] = generation, digest
        if known != (generation, digest):
            self.triggers.add(target)

    def _know(self, target: Target) -> None:
        former = self._targets.get((target.namespace, target.name), target)
        self._targets[target.namespace, target.name] = target
        if former != target:
            self.pipeline(former.namespace, former.name, former.uid, 0, "", gone=True)

    def owned(self, namespace: str, pipeline: str, uid: str, digest: str, *, gone: bool) -> None:
        """A watch told of an object with the label of a pipeline."""
        if not gone and self._digests.get(uid) == digest:
            return
        if gone:
            self._digests.pop(uid, None)
        else:
            self._digests[uid] = digest
        if target := self._targets.get((namespace, pipeline)):
            self.triggers.add(target)

    def resync(self, listed: Iterable[Object]) -> bool:
        """Triggers every listed pipeline; says whether the watch of pipelines is deaf.

        A pipeline that is missing twice has gone without a word, as where a watch was begun anew meanwhile.
        """
        untold: dict[str, int] = {}
        missing = set(self._targets.values())
        for item in listed:
            metadata = item["metadata"]
            uid, generation = metadata["uid"], metadata.get("generation", 0)
            target = Target(metadata["namespace"], metadata["name"], uid)
            self._know(target)
            if self._generations.get(uid, -1) < generation:
                untold[uid] = generation
            missing.discard(target)
            self.triggers.add(target)
        for target in missing & self._missing:
            self.pipeline(target.namespace, target.name, target.uid, 0, "", gone=True)
        self._missing = missing
        deaf = any(uid in untold and self._generations.get(uid, -1) < before for uid, before in self._untold.items())
        self._untold = untold
        return deaf
