-- These rows, each with its outcome.
job.id = any(array(select id from held))
and outcome.id = job.id
and outcome.claim_token = job.claim_token -- rule: an outcome is written to its own claim
