-- which rows took more than one request, and what each did differently
select task, input_uri, page, len(attempts) as requests, list_transform(attempts, lambda entry: entry.note) as notes, state
from rows
where len(attempts) > 1
order by requests desc
limit 50
