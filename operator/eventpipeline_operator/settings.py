"""What the operator reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from eventpipeline.settings import Settings
from eventpipeline_operator.values import Image

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: tuple(filter(None, value.split(","))) if isinstance(value, str) else value),
    PlainSerializer(",".join, return_type=str),
]
"""Separated by commas; a chart writes an empty variable where there is none."""


@dataclass(frozen=True)
class Images:
    """The images of what the operator runs; None means the chart's own."""

    pipeline: Image
    nats: Image | None
    postgres: Image | None


class OperatorSettings(Settings):
    port: int = Field(default=8080, ge=0, le=65535)
    image: str = "eventpipeline"
    """Of the services: the image in which the operator itself runs, so that their versions cannot differ."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Names = ()
    nats_image: str | None = None
    postgres_image: str | None = None
    watch_namespaces: Names = ()
    """The namespaces whose pipelines are run; without any, all."""
    pod_namespace: str = "eventpipeline-system"
    """Where the operator itself runs; from there it may reach NATS."""
    monitoring_namespaces: Names = ("monitoring",)
    resync_seconds: float = Field(default=60.0, gt=0)
    """Every pipeline is looked at this often, whatever happens."""
    workers: int = Field(default=4, ge=1, le=64)
    """Passes that run at one time."""
    helm: str = "helm"

    @property
    def images(self) -> Images:
        policy = self.image_pull_policy
        return Images(
            parsed_image(self.image, policy),
            parsed_image(self.nats_image, policy) if self.nats_image else None,
            parsed_image(self.postgres_image, policy) if self.postgres_image else None,
        )


def parsed_image(reference: str, pull_policy: Literal["Always", "IfNotPresent", "Never"]) -> Image:
    """`registry:5000/name:tag@sha256:…` in its parts."""
    rest, _, digest = reference.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    return Image(repository=name, tag=tag, digest=digest, pull_policy=pull_policy)
