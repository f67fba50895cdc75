-- What a pending job may wait for, if it is one: its queue's pause and workers, a message, the job that it
-- follows, those before it in its order, and how its limit and its rate stand for its key.
-- Reads only, and no more rows than one claim does: what runs under the limit are the live rows themselves,
-- by their keys (room.sql).
with this as materialized (
    select job.*, {is_held_up} as is_held_up
    from {schema}.job
    where id = %(id)s::uuid and status = 'pending'
),
facts as materialized (
    select
        this.*,
        queue.paused_at,
        queue.pause_reason,
        queue.limiter,
        queue.order_path,
        queue.limit_path,
        queue.rate_path,
        queue.cost_path,
        case
            when coalesce(queue.limit_path, queue.rate_path) is not null
            then left(coalesce(this.input #>> coalesce(queue.limit_path, queue.rate_path), ''), 200)
        end as key,
        coalesce(limiter.set_to, limiter.declared) as size,
        limiter.rate_interval,
        limiter.next_start_at
    from this
    left join {schema}.queue on queue.name = this.queue_name
    left join {schema}.limiter on limiter.name = queue.limiter
)
select
    extract(epoch from facts.run_at)::text as due_at,
    facts.run_at <= now() as is_due,
    facts.paused_at is not null as is_paused,
    facts.pause_reason,
    (
        select count(*)
        from {schema}.worker
        where ended_at is null
            and latest_heartbeat_at > now() - %(silence)s::interval
            and facts.queue_name = any(queues)
    ) as workers,
    facts.setup_failures,
    facts.awaits,
    (
        -- Two probes: one with an `or` would be a walk over all rows.
        select first.id::text
        from {schema}.job as first
        where first.id = facts.follows
            and first.finished_at is null
            and first.cancelled_at is null
        union all
        select next.original_attempt_id::text
        from {schema}.job as next
        where next.original_attempt_id = facts.follows
            and next.finished_at is null
            and next.cancelled_at is null
        limit 1
    ) as follows,
    case when facts.order_path is not null then facts.order_key end as order_key,
    stopped.job_id::text as failed_before,
    before.job_id as before,
    facts.is_held_up,
    facts.limiter,
    facts.key,
    facts.size,
    case
        when facts.size is not null
        then (
            select count(distinct coalesce(job.place, job.id))
            from {schema}.queue
            join {schema}.job on job.queue_name = queue.name
            where queue.limiter = facts.limiter
                and job.queue_name = any(
                    array(select name from {schema}.queue where limiter = facts.limiter)
                )
                and job.reserved_at is not null
                and job.finished_at is null
                and job.cancelled_at is null
                and (
                    facts.limit_path is null
                    or left(coalesce(job.input #>> queue.limit_path, ''), 200) = facts.key
                )
        )
    end as running,
    (
        select count(*)
        from {schema}.limit_holder
        where limit_holder.limiter = facts.limiter
            and (facts.limit_path is null or limit_holder.key = facts.key)
    ) as held,
    extract(
        epoch from case
            when facts.rate_interval is null then null
            when facts.rate_path is null and facts.cost_path is null
            then case when facts.next_start_at > now() then facts.next_start_at end
            else (
                select rate_clock.next_start_at
                from {schema}.rate_clock
                where rate_clock.limiter = facts.limiter
                    and rate_clock.key = coalesce(facts.key, '')
                    and rate_clock.next_start_at > now()
            )
        end
    )::text as next_start_at
from facts
left join lateral (
    select job_id
    from {schema}.stopped_key
    where facts.order_path is not null
        and stopped_key.queue_name = facts.queue_name
        and stopped_key.order_key = facts.order_key
        and stopped_key.order_number < facts.order_number
    order by stopped_key.order_number
    limit 1
) as stopped on true
left join lateral (
    select coalesce(original_attempt_id, id)::text as job_id
    from {schema}.job
    where facts.order_path is not null
        and queue_name = facts.queue_name
        and {stands_in_order}
        and order_key = facts.order_key
        and order_number < facts.order_number
    order by order_number
    limit 1
) as before on true
