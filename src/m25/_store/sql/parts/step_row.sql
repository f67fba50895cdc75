-- The columns of a `StepRow`.
kind,
name,
key,
fingerprint,
extract(epoch from until)::text as until,
extract(epoch from until - now())::float8 as seconds_left,
output::text
