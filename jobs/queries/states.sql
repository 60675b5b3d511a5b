-- how many rows of each task are ok, unsure, doubtful, failed
select task, state, count(*) as rows
from rows
group by task, state
order by task, rows desc
