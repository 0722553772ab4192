"""Every row of the table "what can go wrong" (docs/operations.md) is shown by a test that exists."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.paths import ROOT

# Beginning of the symptom -> the tests that show it, each as file below tests/ and function.
PROOFS: dict[str, tuple[str, ...]] = {
    'the trainer ends with status 3, "there can be one only"': (
        "trainer/publish/test_ownership.py::test_a_second_trainer_is_refused_while_the_first_renews",
        "hsnn/doctor/test_owners.py::test_who_owns_what",
    ),
    'it ends with status 3, "is in use by the trainer"': (
        "trainer/publish/test_ownership.py::test_a_second_trainer_in_the_same_folder_is_refused",
    ),
    'it ends with status 3, "has taken over"': (
        "trainer/publish/test_ownership.py::test_a_take_over_ends_the_other_trainer_at_its_next_write",
    ),
    "a wall clock is wrong": (
        "streaming/redis/test_clock.py::test_it_is_measured_now_and_then_and_said_once_each_way",
    ),
    "a producer's clock is wrong": (
        "trainer/online/test_progress.py::test_events_of_wrong_clocks_are_counted_by_side",
        "streaming/consumer/test_watermark.py::test_a_share_of_wrong_clocks_moves_nothing",
    ),
    "stream time stands still": (
        "trainer/online/test_loop_health.py::test_a_poll_that_does_not_return_makes_the_trainer_not_live",
        "trainer/features/test_mass_expiry.py::test_time_goes_on_while_what_follows_does_not_come",
    ),
    '"items would expire at once"': (
        "trainer/features/test_mass_expiry.py::test_a_leap_of_the_watermark_takes_nobody_away",
        "trainer/features/test_mass_expiry.py::test_held_items_leave_when_it_is_confirmed",
    ),
    '"items end at once while no event comes"': (
        "trainer/features/test_mass_expiry.py::test_many_ends_in_the_silence_are_held_until_they_are_confirmed",
        "serving/mirror/test_mirror_quiet_ends.py::test_many_ends_at_once_are_held",
    ),
    "the trainer is killed at every start": (
        "streaming/decode/test_decode_journal.py::test_the_note_outlives_a_killed_process",
    ),
    "answers stay as they are": ("trainer/publish/test_adoption.py::test_no_scheduler_is_one_alarm",),
    'the trainer ends, "the port speaks TLS"': (
        "streaming/log/kafka/test_connect.py::test_plaintext_to_a_tls_port",
        "streaming/log/kafka/test_connect.py::test_tls_to_a_plaintext_port",
        "streaming/log/kafka/test_connect.py::test_a_missing_file_of_certificates",
        "streaming/log/kafka/test_errors.py::test_a_wrong_password_is_named",
    ),
    'it ends, "lacks a right"': (
        "streaming/log/kafka/test_errors.py::test_what_stays_wrong_is_refused_and_not_tried_again",
    ),
    'it ends, "compressed by a codec': ("hsnn/doctor/test_event_log.py::test_a_codec_that_is_missing_fails",),
    "the trainer is not live, `poll` is silent": (
        "trainer/online/test_loop_health.py::test_a_poll_that_does_not_return_makes_the_trainer_not_live",
    ),
    '"partitions were added"': (
        "trainer/online/test_loop_resume.py::test_partitions_added_at_run_time_are_joined_where_the_checkpoint_says",
        "trainer/online/test_loop_partitions.py::test_several_workers_start_again",
    ),
    "events are in the log and none is read": (
        "trainer/online/test_loop_partitions.py::test_records_behind_an_open_transaction_are_shown",
    ),
    "the scheduler is not live, `job NAME`": (
        "indexer/jobs/test_runner.py::test_a_job_that_hangs_has_no_beat_and_the_others_have",
    ),
    "dead letters with reason `unreadable`": (
        "streaming/log/kafka/test_bounded_batches.py::test_reading_goes_on_behind_a_batch_that_is_too_large",
    ),
    '"dead letters are refused"': (
        "streaming/dead_letters/test_writer.py::test_letters_that_are_refused_are_kept_without_their_content",
        "streaming/dead_letters/test_writer.py::test_letters_that_are_refused_for_good_are_counted_and_named",
    ),
    "dead letters with reason `arrow`": (
        "streaming/schema/test_arrow_limits.py::test_bombs_are_one_dead_letter_and_take_no_memory",
    ),
    '"answers are not logged"': ("serving/api/test_request_log.py::test_a_full_disk_costs_lines_and_no_answer",),
    'the trainer is not ready, "no checkpoint can be written"': (
        "trainer/online/test_loop_health.py::test_a_full_disk_costs_checkpoints_and_nothing_else",
    ),
    'the trainer is not ready, "Redis refuses"': (
        "trainer/publish/test_redis_writer.py::test_refused_writes_end_nothing_and_are_made_up_for",
    ),
    "status 504": ("serving/api/test_app.py::test_a_call_beyond_the_deadline_is_given_up",),
    'status 503 "wait for an answer already"': (
        "serving/api/test_lanes.py::test_calls_beyond_the_bound_are_refused_until_there_is_room",
        "serving/api/test_server.py::test_health_is_quick_and_memory_bounded_whatever_clients_send",
    ),
    "status 429": (
        "serving/api/test_app.py::test_a_token_beyond_its_rate_waits",
        "serving/api/test_ingest.py::test_pages_are_limited_per_address",
        "serving/ingest/test_appender.py::test_more_than_may_wait_is_refused_and_not_appended",
    ),
    'status 503 "did not confirm the events"': (
        "serving/api/test_ingest.py::test_a_log_that_is_away_is_a_503_and_retrievals_go_on",
    ),
    "status 408": (
        "serving/api/test_connection.py::test_a_client_without_headers_is_closed_however_slowly_it_sends",
        "serving/api/test_connection.py::test_a_client_that_does_not_read_its_answer_is_closed",
    ),
    "connections are refused or closed": (
        "serving/api/test_connection.py::test_one_connection_too_many_closes_the_one_idle_longest",
        "serving/api/test_connection.py::test_while_all_connections_are_busy_a_new_one_is_refused",
    ),
    "status 500": ("serving/api/test_app.py::test_what_fails_inside_is_counted_and_logged_once",),
    'status 422 "not UTF-8"': (
        "serving/api/test_app.py::test_a_body_that_is_not_utf_8_is_refused_with_a_sentence_and_counted",
    ),
    '`hsnn doctor`: "Redis may throw away"': ("hsnn/doctor/test_redis_server.py::test_a_redis_that_may_evict_keys",),
    '`hsnn doctor`: "lost with a restart"': (
        "hsnn/doctor/test_redis_server.py::test_a_redis_that_forgets_over_a_restart",
    ),
    "`hsnn doctor`: topics do not exist": ("hsnn/doctor/test_event_log.py::test_topics_that_do_not_exist_are_named",),
    "`hsnn doctor`: the clock": ("hsnn/doctor/test_redis_server.py::test_a_clock_that_differs",),
    'workers end with "no sign of workers': ("trainer/distributed/test_meeting.py::test_missing_workers_are_named",),
    'a role ends with "run `hsnn upgrade` once"': (
        "hsnn/doctor/test_upgrade.py::test_no_role_starts_on_what_has_to_be_converted",
        "streaming/redis/test_layout.py::test_a_newer_layout_is_refused",
    ),
    "a role ends at once with status 2 and the name of a key": (
        "hsnn/config/test_integration_refused.py::test_no_number_is_negative_infinite_or_none_at_all",
        "hsnn/config/test_integration_refused.py::test_what_does_not_go_together_is_refused_with_the_reason",
    ),
}


def symptoms() -> list[str]:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert page.count("\n## What can go wrong\n") == 1, "one page, one table"
    section = page.partition("\n## What can go wrong\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert lines[0].startswith("| symptom |")
    return [line[2:].partition(" | ")[0] for line in lines[1:]]


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("symptom", symptoms())
def test_every_row_is_shown_by_a_test(symptom: str) -> None:
    (key,) = [key for key in PROOFS if symptom.startswith(key)]
    for proof in PROOFS[key]:
        file, _, name = proof.partition("::")
        assert name in functions_of(file), f"{proof} does not exist any more: which test shows {symptom!r} now?"


def test_no_proof_is_of_a_row_that_is_gone() -> None:
    rows = symptoms()
    assert [key for key in PROOFS if not any(row.startswith(key) for row in rows)] == []
