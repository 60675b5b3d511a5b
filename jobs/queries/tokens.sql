-- how many tokens each task and model took
select task, model, count(*) as rows, sum(prompt_tokens) as prompt_tokens, sum(output_tokens) as output_tokens,
  round(avg(output_tokens), 1) as output_tokens_a_row, quantile_disc(output_tokens, 0.95) as p95, max(output_tokens) as most
from rows
group by task, model
order by output_tokens desc
