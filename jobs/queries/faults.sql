-- what is in doubt, and how often
select task, unnest(verified.faults) as fault, count(*) as rows
from rows
where state = 'doubtful'
group by task, fault
order by rows desc
