-- Under these each statement is planned once, and every way to a row but by an index is closed; why, the
-- head of session.sql says.
('plan_cache_mode', 'force_generic_plan', null),
('enable_seqscan', 'off', null),
('enable_bitmapscan', 'off', null),
('enable_mergejoin', 'off', null),
('enable_nestloop', 'off', null),
('jit', 'off', null)
