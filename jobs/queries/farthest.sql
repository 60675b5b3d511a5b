-- which readings are farthest from the text that the PDF itself holds
select task, input_uri, page, verified.cer as cer, verified.missing_words as missing_words, verified.extra_words as extra_words
from rows
where verified.cer is not null
order by cer desc
limit 50
