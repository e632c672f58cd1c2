"""Properties are about what holds, not about how fast: on a busy machine any example may take long."""

from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")
