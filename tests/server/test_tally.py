"""What a member counts of its roles."""

from zkstore.server.tally import Tally


def test_a_server_that_looks_for_a_leader_counts_how_long() -> None:
    tally = Tally(1_000)
    tally.looks(1_050)
    tally.serves(1_300, leads=False)
    assert (tally.election_ms.count, tally.election_ms.sum) == (1, 300)
    assert tally.metrics(1_400) == {"looking_count": 1, "snap_count": 0}

    tally.looks(2_000)
    tally.looks(2_010)
    tally.serves(2_100, leads=True)
    assert (tally.election_ms.count, tally.election_ms.sum) == (2, 400)
    assert tally.metrics(2_600)["looking_count"] == 2


def test_only_a_leader_has_an_uptime_and_proposals() -> None:
    tally = Tally(0)
    tally.serves(100, leads=True)
    assert tally.metrics(150)["leader_uptime"] == 50
    assert tally.metrics(150)["last_proposal_size"] == -1

    for size in (70, 50, 60):
        tally.proposed(size)
    assert tally.proposal_bytes == (60, 50, 70)

    tally.looks(200)
    assert "leader_uptime" not in tally.metrics(250)


def test_counters_start_anew_and_what_lasts_goes_on() -> None:
    tally = Tally(0)
    tally.serves(100, leads=True)
    tally.proposed(10)
    tally.snapshot_sent()
    assert tally.metrics(300)["snap_count"] == 1

    tally.reset()

    assert tally.metrics(300) == {
        "looking_count": 0,
        "snap_count": 0,
        "leader_uptime": 200,
        "last_proposal_size": -1,
        "min_proposal_size": -1,
        "max_proposal_size": -1,
    }
    assert tally.election_ms.count == 0
