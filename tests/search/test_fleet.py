"""Which node gets the next run, worked out by hand; what real nodes do is in ``tests/cluster``."""

from collections import Counter

import pytest

from dce_ray.search import fleet as module
from dce_ray.search.fleet import Fleet
from dce_ray.session.resources import Node, Resources

SMALL, LARGE = Node(2, id="a", host="small"), Node(3, id="b", host="large")
ONE = Resources(1.0, 0.0)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test may set."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def taken(number, kind=ONE):
    return Counter({kind: number})


def test_late_nodes_are_used_and_lost_ones_are_not(clock):
    nodes = [SMALL]
    fleet = Fleet(ONE, lambda: nodes)
    assert fleet.share(taken(1)) == ONE
    assert fleet.share(taken(2)) is None
    nodes = [SMALL, LARGE]
    clock[0] += 11
    assert fleet.share(taken(4)) == ONE
    assert fleet.share(taken(5)) is None
    nodes = [LARGE]
    clock[0] += 11
    assert fleet.share(taken(3)) is None


def test_of_no_node_at_all_one_run_waits_until_the_search_ends(clock):
    nodes = [SMALL]
    fleet = Fleet(ONE, lambda: nodes)
    assert fleet.lost() is None
    nodes = []
    clock[0] += 11
    assert fleet.lost() is None
    assert fleet.share(Counter()) == ONE
    assert fleet.share(taken(1)) is None
    clock[0] += 31
    assert "lost all its nodes" in fleet.lost()


def test_runs_with_a_gpu_come_first_and_the_others_go_where_there_is_none(clock):
    on_cpu = Resources(2.0, 0.0, without_gpu=True)
    both = Resources(1.0, 0.5, elsewhere=on_cpu)
    with_gpu = both.kinds[0]
    fleet = Fleet(both, lambda: [Node(8, 1, id="g", host="gpu"), Node(4, id="c", host="cpu")])
    assert fleet.share(Counter()) == with_gpu
    assert fleet.share(taken(2, with_gpu)) == on_cpu
    assert fleet.share(taken(2, with_gpu) + taken(2, on_cpu)) is None
    assert fleet.where(with_gpu) is None  # its GPU says where
    assert fleet.where(on_cpu) == ["c"]


def test_a_node_on_which_two_runs_in_a_row_fail_gets_no_more(clock):
    fleet = Fleet(ONE, lambda: [SMALL, LARGE])
    fleet.refresh()
    assert fleet.fault("a", "small", "disk full") is None
    fleet.fine("a")
    assert fleet.fault("a", "small", "disk full") is None
    assert fleet.where(ONE) is None
    assert fleet.fault("a", "small", "disk full") == (
        "no more runs go to small, where 2 in a row ended with: disk full"
    )
    assert fleet.where(ONE) == ["b"]
    assert fleet.share(taken(2)) == ONE
    assert fleet.share(taken(3)) is None
    assert fleet.lost() is None
    fleet.fault("b", "large", "no such file")
    fleet.fault("b", "large", "no such file")
    assert fleet.lost() == "disk full (on small); no such file (on large)"


def test_as_many_nodes_at_fault_as_are_left_end_the_search(clock):
    names = list("abcdef")
    fleet = Fleet(ONE, lambda: [Node(1, id=name, host=name) for name in names])
    fleet.refresh()
    for name in "abc":
        assert fleet.lost() is None
        fleet.fault(name, name, "gone")
        fleet.fault(name, name, "gone")
    assert fleet.lost() == "gone (on a); gone (on b); gone (on c)"
    names += ["g", "h"]  # two late ones that nothing is held against
    clock[0] += 11
    assert fleet.lost() is None
    names[:] = "abdefg"  # and one of those at fault is gone
    clock[0] += 11
    assert fleet.lost() is None


def test_whoever_waits_for_nodes_that_are_gone_is_stranded(clock):
    nodes = [SMALL, LARGE]
    fleet = Fleet(ONE, lambda: nodes)
    assert not fleet.stranded(["a"])
    nodes = [LARGE]
    clock[0] += 11
    assert fleet.stranded(["a"])
    assert not fleet.stranded(["a", "b"])
    assert not fleet.stranded(None)


def test_utilisation_counts_what_was_held_while_it_was_held(clock):
    nodes = [Node(2, 1, id="a")]
    fleet = Fleet(Resources(1.0, 0.5), lambda: nodes)
    fleet.refresh()
    clock[0] += 1800
    nodes = [Node(4, id="b")]
    fleet.refresh()
    clock[0] += 900
    fleet.measure()
    fleet.used(fleet.resources, 1800)
    assert fleet.held == {"CPU": 2 * 1800 + 4 * 900, "GPU": 1800}
    assert fleet.utilisation() == "utilisation: 0.50 of 2.00 CPU hours held (25%), 0.25 of 0.50 GPU hours held (50%)"
    assert Fleet(ONE, list).utilisation() == ""
