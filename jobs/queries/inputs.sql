-- which inputs have most rows failed or in doubt
select input_uri, count(*) as rows, count(*) filter (state = 'failed') as failed, count(*) filter (state = 'doubtful') as doubtful
from rows
group by input_uri
having failed + doubtful > 0
order by failed + doubtful desc, input_uri
limit 50
