-- Created more than a second from now, and not scheduled by anybody for a point in time: that of a
-- retry is counted from when the retry was created.
created_at > now() + interval '1 second'
    and (scheduled_at is null or previous_attempt_id is not null) -- rule: what was scheduled waits
