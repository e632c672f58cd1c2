"""The plan as objects, through the chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventpipeline.spec import EventPipeline
from eventpipeline_operator import chart, helm
from eventpipeline_operator.cluster import Versions
from eventpipeline_operator.errors import Refused
from eventpipeline_operator.objects import Object
from eventpipeline_operator.planned import Planned
from eventpipeline_operator.secret import Credentials, secret_name
from eventpipeline_operator.settings import OperatorSettings


@dataclass(frozen=True)
class ChartRenderer:
    settings: OperatorSettings

    async def __call__(
        self, pipeline: EventPipeline, planned: Planned, credentials: Credentials, versions: Versions
    ) -> Sequence[Object]:
        settings = self.settings
        extras = chart.Extras(
            auth_secret=secret_name(pipeline),
            hashes=credentials.hashes,
            draining=planned.draining,
            nats_image=settings.images.nats,
            postgres_image=settings.images.postgres,
            image_pull_secrets=settings.image_pull_secrets,
            operator_namespace=settings.pod_namespace,
            monitoring_namespaces=settings.monitoring_namespaces,
        )
        values = chart.values(pipeline, planned.plan, settings.images.pipeline, extras)
        try:
            return await helm.render(
                values,
                name=pipeline.metadata.name,
                namespace=pipeline.metadata.namespace or "",
                kube_version=versions.kube_version,
                api_versions=versions.api_versions,
                helm=settings.helm,
            )
        except helm.ChartError as error:
            raise Refused(f"the chart cannot be rendered: {error}", "RenderFailed") from error
