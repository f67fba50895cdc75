"""What a worker of the original m25 does, a statement a verb. It knows nothing of our columns."""

from __future__ import annotations

INSERT = """
    insert into m25.job (
        queue_name, scheduled_at, input, timeout, attempt, max_attempts, retry_delay, unique_key
    )
    values (%(queue)s, null, %(input)s::jsonb, '1 minute', 1, %(max_attempts)s, '0', %(unique_key)s)
    returning id
"""
SHORT_INSERT = """
    insert into m25.job (queue_name, input, timeout, attempt)
    values (%(queue)s, %(input)s::jsonb, '1 minute', 1)
    returning id
"""
RESERVE = """
    update m25.job set reserved_at = now()
    where id in (
        select id from m25.job
        where queue_name = %(queue)s
            and status = 'pending'
            and (scheduled_at is null or scheduled_at <= now())
        order by coalesce(scheduled_at, created_at)
        limit %(limit)s
        for update skip locked
    )
    returning id
"""
PROMOTE = """
    update m25.job set started_at = now(), deadline = now() + timeout
    where id = %(id)s and status = 'reserved' returning id
"""
HEARTBEAT = """
    update m25.job set latest_heartbeat_at = now()
    where id = %(id)s and status = 'executing' returning id
"""
SUCCEED = """
    update m25.job set finished_at = now(), output = %(output)s::jsonb
    where id = %(id)s and status = 'executing' returning id
"""
ERROR = """
    update m25.job
    set finished_at = now(), failure_reason = 'error', error_data = %(error_data)s::jsonb
    where id = %(id)s and status = 'executing' returning id
"""
FAIL = """
    update m25.job set finished_at = now(), failure_reason = %(reason)s
    where id = %(id)s and status = 'executing' returning id
"""
RETRY = """
    insert into m25.job (
        queue_name, scheduled_at, input, timeout, attempt, max_attempts, original_attempt_id,
        previous_attempt_id, retry_delay, unique_key
    )
    select
        queue_name, now() + retry_delay, input, timeout, attempt + 1, max_attempts,
        coalesce(original_attempt_id, id), id, retry_delay, unique_key
    from m25.job
    where id = %(id)s and status = 'failed' and attempt < max_attempts
    returning id
"""
CANCEL = """
    update m25.job set cancelled_at = now()
    where id = %(id)s and status = 'pending' returning id
"""
TIME_OUT = """
    update m25.job set finished_at = now(), failure_reason = 'job_timeout'
    where queue_name = %(queue)s and status = 'executing' and deadline < now() returning id
"""
CLEAN_UP_STUCK = """
    update m25.job set reserved_at = null
    where queue_name = %(queue)s and status = 'reserved' and reserved_at < now() - interval '30 s'
    returning id
"""
