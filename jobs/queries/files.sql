-- what decoders noticed about files
select unnest(input_notes) as note, count(distinct input_uri) as inputs, any_value(input_uri) as one_of_them
from rows
group by note
order by inputs desc
