-- Release claimed jobs: pending again, the attempt not counted, nothing of the claim left.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting; only a
-- row that is live under the caller's own claim token is written. `channels` are notified in the same
-- commit.
with {held},
released as (
    update {schema}.job
    set
        {released}
    where id = any(array(select id from held)) -- rule: a job is released by its own claim
    returning id
)
select
    id::text,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified
from released
