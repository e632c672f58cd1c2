import pytest

from eventpipeline.local.errors import PortsTaken
from eventpipeline.local.ports import Taken, message, shifted


def test_an_offset_moves_every_port() -> None:
    assert shifted({"gateway": 3000, "nats": 4222}, 100) == {"gateway": 3100, "nats": 4322}


def test_an_offset_that_leaves_the_range_is_refused_with_the_ports_it_gives() -> None:
    with pytest.raises(PortsTaken, match=r"--port-offset 63000 .* 66000 for gateway, 67222 for nats"):
        shifted({"gateway": 3000, "nats": 4222}, 63000)


def test_the_message_names_each_port_who_wants_it_and_who_has_it() -> None:
    text = message(
        [Taken(5432, "postgres", "taken by postgres (pid 7)"), Taken(3000, "gateway", "taken by node (pid 9)")]
    )

    assert text.splitlines() == [
        "2 ports are not free; choose others with --port-offset N, which is added to every port",
        "  3000 for gateway: taken by node (pid 9)",
        "  5432 for postgres: taken by postgres (pid 7)",
    ]
