-- Pause a schedule, or resume it: then it goes on with the next tick from now. Nothing happens where
-- it is so already. Safe under concurrency: one update, whose conditions are checked on the row as it
-- is once locked.
update {schema}.schedule
set
    paused_at = case when %(is_paused)s::boolean then coalesce(paused_at, now()) end,
    last_tick = case
        when paused_at is not null and not %(is_paused)s::boolean
        then greatest(last_tick, now()) -- rule: what comes in a pause does not run after it
        else last_tick
    end
where name = %(name)s::text
returning name
