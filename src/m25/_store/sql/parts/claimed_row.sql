-- What a claim returns of what it has claimed. Its time is the same in all of its rows.
{always_claimed_as_text},
extract(epoch from run_at)::text as run_at,
(select extract(epoch from now())::text) as claimed_at,
rest
