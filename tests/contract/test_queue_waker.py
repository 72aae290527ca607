"""A queue is woken when it has requests and its model has nothing to do; else it is left alone."""

import threading
import time
from contextlib import suppress
from queue import Empty, Queue

import pytest
from alpamayo_model_repository import queue_waker
from alpamayo_model_repository.own_server import expire
from alpamayo_model_repository.queue_waker import QueueWaker

HANG_S = 20
QUIET_S = 0.2  # many pauses


class Sleeper:
    """A model's queue, as the waker sees it."""

    def __init__(self):
        self.requests, self.looks, self.knocks = 0, Queue(), Queue()
        self.look = self.wake = lambda: None
        self.counted = []
        self.waker = QueueWaker(
            self._waiting, self._woken, lambda which: self.counted.append((which, threading.get_ident()))
        )

    def _waiting(self):
        self.looks.put(self.requests)
        self.look()
        return self.requests

    def _woken(self):
        self.knocks.put(self.requests)
        return self.wake()

    def model_executes(self):
        with self.waker.executing():
            pass


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(queue_waker, "LONGEST_PAUSE_S", 0.01)
    queue = Sleeper()
    yield queue
    queue.requests = 0


def test_one_that_has_requests_is_woken_until_the_next_begins(queue):
    queue.requests = 3
    queue.model_executes()
    for _ in range(4):
        assert queue.knocks.get(timeout=HANG_S) == 3
    with queue.waker.executing():
        for _ in range(queue.looks.qsize()):
            queue.looks.get()
        with suppress(Empty):  # one look may be under way
            queue.looks.get(timeout=QUIET_S)
        with pytest.raises(Empty):
            queue.looks.get(timeout=QUIET_S)


def test_an_empty_one_is_looked_at_once(queue):
    queue.model_executes()
    assert queue.looks.get(timeout=HANG_S) == 0
    with pytest.raises(Empty):
        queue.looks.get(timeout=QUIET_S)
    assert queue.knocks.empty()


def test_nobody_looks_while_the_model_works(queue):
    queue.requests = 1
    with queue.waker.executing(), pytest.raises(Empty):
        queue.looks.get(timeout=QUIET_S)
    assert queue.knocks.get(timeout=HANG_S) == 1


def test_it_is_woken_again_while_a_knock_has_no_answer(queue):
    answer = threading.Event()
    queue.requests, queue.wake = 1, answer.wait
    queue.model_executes()
    for _ in range(3):
        queue.knocks.get(timeout=HANG_S)
    answer.set()


@pytest.mark.parametrize("call", ["look", "wake"])
def test_a_server_that_does_not_answer_is_asked_after_the_next_execution(queue, call, capfd):
    failed = threading.Event()

    def fail():
        failed.set()
        raise OSError("no server")

    queue.requests = 1
    setattr(queue, call, fail)
    queue.model_executes()
    assert failed.wait(HANG_S)
    setattr(queue, call, lambda: None)
    while not queue.knocks.empty():
        queue.knocks.get()
    queue.model_executes()
    assert queue.knocks.get(timeout=HANG_S) == 1
    assert capfd.readouterr().err == ""


def test_it_is_counted_by_the_model_s_own_thread(queue):
    """Triton 2.51 dies when several threads change its metrics."""
    queue.requests, queue.wake = 1, lambda: "first place"
    queue.model_executes()
    give_up_at = time.monotonic() + HANG_S
    while not queue.counted and time.monotonic() < give_up_at:
        queue.knocks.get(timeout=HANG_S)
        queue.model_executes()
    assert set(queue.counted) == {("first place", threading.get_ident())}


POLICY = {"timeout_action": "REJECT", "default_timeout_microseconds": "60000000", "allow_timeout_override": True}


@pytest.mark.parametrize(
    ("batching", "knocks_expire"),
    [
        ({"default_queue_policy": POLICY}, True),
        ({"default_queue_policy": POLICY, "priority_queue_policy": {"1": POLICY}}, True),
        ({"default_queue_policy": POLICY | {"allow_timeout_override": False}}, False),
        ({"default_queue_policy": POLICY | {"default_timeout_microseconds": "0"}}, False),
        ({"default_queue_policy": POLICY | {"timeout_action": "DELAY"}}, False),
        ({"default_queue_policy": POLICY, "priority_queue_policy": {"1": {"max_queue_size": 4}}}, False),
        ({"priority_levels": "3"}, False),
    ],
)
def test_where_no_knock_would_expire_none_is_sent(batching, knocks_expire):
    """The model would work on it."""
    assert expire({"name": "m", "dynamic_batching": batching}) == knocks_expire
    assert not expire({"name": "m"})
