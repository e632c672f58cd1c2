from pathlib import Path

from eventpipeline.local.datadir import cap, rotate, tail


def test_one_earlier_log_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"
    for run in ("first", "second", "third"):
        rotate(log)
        log.write_text(run)

    assert sorted((path.name, path.read_text()) for path in tmp_path.iterdir()) == [
        ("nats.log", "third"),
        ("nats.log.1", "second"),
    ]


def test_a_log_that_has_grown_long_starts_anew_under_the_program_that_writes_it(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"
    with log.open("a") as written:
        written.write("x" * 100)
        written.flush()
        cap(log, most=50)
        written.write("y")

    assert log.read_text() == "y"
    assert (tmp_path / "nats.log.1").read_text() == "x" * 100


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"
    log.write_text("x" * 50)
    cap(log, most=50)

    assert [path.name for path in tmp_path.iterdir()] == ["nats.log"]


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"
    log.write_text("".join(f"{number}\n" for number in range(5000)))

    assert tail(log, lines=2) == "4998\n4999"
    assert tail(tmp_path / "none.log") == ""
