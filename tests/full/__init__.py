"""What takes too long for CI: `make e2e-full`.

    python -m full.many_pipelines     with tests and tests/e2e on PYTHONPATH; so the others

many_pipelines.py   200 pipelines under one operator: time, memory, CPU
pods.py             pods and what runs them are broken under load, on a real cluster, and the oracle of tests/faults
pod_schedule.py     which of that happens when, from a seed; pure
pod_inject.py       doing it
pod_state.py        the pipeline as the API and its servers show it meanwhile
backup.py           the chart's backup and restore on a real cluster
pressure.py         the worst load while NATS is slow: memory
"""
