from eventpipeline.local.supervisor import Event


def test_an_event_reads_as_a_line() -> None:
    assert str(Event("ready", "nats", 7)) == "nats ready (pid 7)"
    assert str(Event("died", "gateway", 8, "killed by SIGKILL; starting again in 0.2 s")) == (
        "gateway died (pid 8): killed by SIGKILL; starting again in 0.2 s"
    )
    assert str(Event("note", "nats", detail="takes 1Gi")) == "nats: takes 1Gi"
