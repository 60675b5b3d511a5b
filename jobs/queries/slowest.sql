-- which rows took longest in the engine
select task, input_uri, page, start_s, round(infer_s, 2) as infer_s, output_tokens, coalesce(len(attempts), 1) as requests
from rows
order by rows.infer_s desc
limit 50
