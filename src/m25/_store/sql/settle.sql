-- End attempts: write each one's outcome and, where the retry rule says so, insert the next attempt,
-- in one statement and so in one transaction. Where a chain has failed, the queue is told that its
-- queue names for that; and where somebody waits for its end, that is notified.
-- Safe under concurrency: a row that somebody else has locked is left out, and keeps none of the others
-- waiting; only a row that is executing under the outcome's own claim token is written, so a worker
-- that lost its claim changes nothing. The next attempt's id was made by the caller, so a repeat after
-- a lost answer inserts nothing twice. The ids that come back are those settled by this very
-- statement; of the others find_settled.sql tells.
with {settled}
select
    settled.id::text,
    next_attempt.previous_attempt_id is not null as has_next_attempt,
    case
        when next_attempt.previous_attempt_id is null
        then {end_notified}
    end as notified,
    {failure_notified}
from settled
left join next_attempt on next_attempt.previous_attempt_id = settled.id
