from __future__ import annotations

from hsnn.serving.workers.board import Board


def board_of(*ready: bool) -> Board:
    board = Board(len(ready) + 1, clock=lambda: 100.0)
    for worker, is_ready in enumerate(ready):
        board.set_process(worker, 4711 + worker)
        board.say(worker, connections=worker, version=1, answers=is_ready, ready=is_ready, live=True)
    return board


def test_workers_that_are_not_ready_take_connections_only_while_none_is():
    assert board_of(False, False).accepts() == [0, 1]
    assert board_of(False, True).accepts() == [1]
    assert board_of(True, True).accepts() == [0, 1]


def test_a_worker_that_ended_takes_no_part():
    board = board_of(True, True)
    board.set_process(0, 0)
    assert (board.accepts(), board.first_process(), board.connections(0)) == ([1], 1, 0)
    board.set_process(0, 5000)  # started again, and silent so far
    assert (board.accepts(), board.first_process(), board.is_live(0, 5)) == ([1], 1, True)


def test_who_is_silent_for_long_or_says_so_is_not_live():
    now = 100.0
    board = Board(1, clock=lambda: now)
    board.set_process(0, 4711)
    board.say(0, connections=0, version=0, answers=False, ready=False, live=True)
    now = 105.0
    assert board.is_live(0, 5)
    now = 105.1
    assert not board.is_live(0, 5)
    board.say(0, connections=0, version=0, answers=False, ready=False, live=False)
    assert not board.is_live(0, 5)
