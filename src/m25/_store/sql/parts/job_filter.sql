-- What is asked of jobs that are looked for. What is dear comes last.
(%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
and (
    %(ended_before)s::timestamptz is null
    or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
)
-- rule: a job is found as its latest attempt
and (
    status not in ('failed', 'cancelled')
    or {is_latest}
)
and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
