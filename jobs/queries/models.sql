-- which model and version answered how many rows, and how well
select task, model, version, count(*) as rows, count(*) filter (state = 'failed') as failed,
  count(*) filter (state = 'doubtful') as doubtful, round(avg(verified.cer), 4) as mean_cer
from rows
group by task, model, version
order by task, rows desc
