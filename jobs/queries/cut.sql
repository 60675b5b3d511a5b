-- which replies end early, at max_tokens
select task, input_uri, page, start_s, output_tokens, right(text, 80) as ends
from rows
where finish_reason = 'length'
order by output_tokens desc
limit 50
