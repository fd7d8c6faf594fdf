"""Learners that keep together: what an exchange makes of weights, and who is asked for them."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from visagent.config.learner_schemas import GossipSettings, ParameterServerSettings
from visagent.errors import ConfigError
from visagent.learning.exchange import divergence, elastic_difference, fill, flatten, floating
from visagent.learning.independent import Gossip, ParameterServer
from visagent.learning.learners import Copy
from visagent.learning.meeting import Meeting
from visagent.learning.peers import Gone, Peers


def test_weights_become_a_vector_and_weights_again():
    tensors = [torch.arange(6.0).reshape(2, 3), torch.tensor(7.0), torch.tensor([3], dtype=torch.int64)]
    there = floating(tensors)
    vector = flatten(there)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7] and vector.dtype == torch.float32
    fill(there, vector * 2)
    assert tensors[0].tolist() == [[0, 2, 4], [6, 8, 10]] and tensors[1].item() == 14 and tensors[2].item() == 3
    assert flatten([torch.ones(1), torch.ones(1, dtype=torch.float64)]).dtype == torch.float64
    half = torch.ones(2, dtype=torch.bfloat16)
    fill([half], torch.tensor([0.5, 0.25]))
    assert half.tolist() == [0.5, 0.25]


def test_divergence_is_the_mean_distance_in_terms_of_the_mean():
    first, second = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0])
    assert divergence([first, second]) == pytest.approx(2.0 / 13**0.5)  # each is 2 away from (3, 2)
    assert divergence([first, first.clone()]) == 0.0


def test_a_centre_gains_what_a_learner_gives_up():
    own, centre = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    moved = elastic_difference(own, centre, 0.25)
    assert (own - moved).tolist() == [1.5, 1.0] and (centre + moved).tolist() == [0.5, 3.0]


@pytest.fixture
def peers():
    made = []

    def make(count, answer=lambda question, body: question.encode() + body, patience=10.0, key="key"):
        found = [Peers(number, "127.0.0.1", key, patience, answer) for number in range(count)]
        made.extend(found)
        for one in found:
            one.know({other.number: other.address for other in found})
        return found

    yield make
    for one in made:
        one.close()


def test_learners_answer_each_other(peers):
    one, _, _ = peers(3)
    assert one.alive == {1, 2}
    assert one.ask(1, "/weights", b"!") == b"/weights!"
    assert one.ask_all("/alive") == {1: b"/alive", 2: b"/alive"}


def test_one_that_is_gone_is_left_out_and_the_others_are_asked(peers, caplog):
    one, other, _ = peers(3)
    other._server.shutdown()
    other._server.server_close()
    with pytest.raises(Gone, match="learner 1"):
        one.ask(1, "/weights")
    assert one.alive == {2} and "learner 1 does not answer learner 0" in caplog.text
    assert one.draw(SimpleNamespace(choice=lambda known: known[-1])) == 2
    assert one.ask_all("/weights") == {2: b"/weights"}


def test_one_that_does_not_answer_in_time_is_left_out_until_it_does(peers):
    asked, free = threading.Event(), threading.Event()

    def slow(question, body):
        asked.set()
        free.wait(60)
        return b"here"

    one, _ = peers(2, slow, patience=0.2)
    with pytest.raises(Gone):
        one.ask(1, "/weights")
    assert asked.is_set() and one.alive == set()
    free.set()
    one.patience = 60.0
    assert one.ask_all("/weights") == {1: b"here"} and one.alive == {1}


def test_nobody_else_is_answered(peers):
    (stranger,) = peers(1, key="another")
    (one,) = peers(1)
    stranger.know({1: one.address})
    with pytest.raises(Gone, match="403"):
        stranger.ask(1, "/weights")


def test_a_question_that_there_is_not_is_not_answered(peers):
    def refuse(question, body):
        raise ValueError(question)

    one, _ = peers(2, refuse)
    with pytest.raises(Gone):
        one.ask(1, "/secrets")


class Store(dict):
    """What learners of one process leave for each other."""

    def check(self, keys):
        return all(key in self for key in keys)

    def get(self, key):
        return self[key].encode()

    set = dict.__setitem__


def meeting(number, store, count=2):
    return Meeting(number, count, store, "127.0.0.1", "key", lambda: None)


def joined(kind, settings, weights):
    """Learners of one process with these weights."""
    store = Store()
    found = [kind(settings) for _ in weights]
    copies = [Copy(lambda own=own: [own], lambda: 10.0) for own in weights]

    def begin(number):
        found[number].meet(meeting(number, store))
        found[number].begin(copies[number], False)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_gossiping_learner_takes_the_mean_with_another_at_its_turn():
    weights = [torch.tensor([4.0]), torch.tensor([0.0])]
    one, other = joined(Gossip, GossipSettings(count=2, patience=10.0, every=3), weights)
    try:
        one.exchange(1)
        one.exchange(2)
        assert weights[0].item() == 4.0
        one.exchange(3)
        assert (weights[0].item(), weights[1].item()) == (2.0, 0.0)
        # Before the exchange they were 2 away from their mean of 2.
        assert one.report() == {"divergence": 1.0, "alive": 2.0, "samples": 20.0}
        other.leave()
        one.exchange(6)
        assert weights[0].item() == 2.0 and one.report()["alive"] == 1.0
    finally:
        one.leave()


def test_a_centre_draws_both_learners():
    weights = [torch.tensor([4.0]), torch.tensor([0.0])]
    settings = ParameterServerSettings(count=2, patience=10.0, every=1, pull=0.5)
    one, other = joined(ParameterServer, settings, weights)
    try:
        other.exchange(1)  # the centre is the first's weights: a quarter of -4 is given up
        assert weights[1].item() == 1.0 and one.state_dict()["centre"].item() == 3.0
        one.exchange(1)
        assert weights[0].item() == 3.75 and one.state_dict()["centre"].item() == 3.25
        assert other.state_dict() == {}
    finally:
        one.leave()
        other.leave()


def test_learners_in_step_begin_where_all_can():
    store = Store()
    one, other = meeting(0, store), meeting(1, store)
    store["epochs/1"] = "[0, 4, 5]"
    assert one.common_epoch([5, 6]) == 5
    store["epochs/0"] = "[0, 1]"
    assert other.common_epoch([]) == 0, "it was ended before it had saved its first"
    store["epochs/0"] = "[0, 6, 7]"
    with pytest.raises(ConfigError, match=r"learner 0 \[6, 7\], learner 1 none; put back what is lacking"):
        other.common_epoch([])


def test_other_threads_see_no_weights_within_a_step():
    weights = torch.tensor([1.0])
    copy = Copy(lambda: [weights], lambda: 0.0, steps_apart=True)
    weights.fill_(2.0)
    assert copy.read_still().item() == 1.0 and copy.read().item() == 2.0
    copy.keep()
    assert copy.read_still().item() == 2.0
    copy.write(torch.tensor([3.0]))
    assert copy.read_still().item() == 3.0
