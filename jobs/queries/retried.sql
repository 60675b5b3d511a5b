-- what became of rows that were asked again, by round and attempt
select task, generation as round, attempt, state, count(*) as rows
from rows
where attempt > 1 or generation > 0
group by task, round, attempt, state
order by task, round, attempt, rows desc
