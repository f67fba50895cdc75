-- What a job costs of its queue's rate: the number that is found in its input, rounded up; 1 where there is
-- none, or less.
case
    when jsonb_typeof(input #> (select cost_path from path)) = 'number'
    then ceil(
        least(greatest((input #>> (select cost_path from path))::numeric, 1), 1000000)
    )::bigint
    else 1
end
