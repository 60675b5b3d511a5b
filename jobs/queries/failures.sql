-- what failed, how often, and what one of the rows says
select task, error.stage as stage, error.kind as kind, count(*) as rows, any_value(error.message) as message
from rows
where status <> 'ok'
group by task, stage, kind
order by rows desc
