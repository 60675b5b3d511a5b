"""Three pools of Ray Data that hand on what they get, over one row: what it costs to start less than a job needs.

    python -m jobs.bench.bare_pools FILE own|init      our small cluster, or the one that `ray.init` starts

Writes FILE when the row has come through.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa

from pipelines import ray_data

POOLS = 3


class Identity:
    def __call__(self, table: pa.Table) -> pa.Table:
        return table


def main() -> None:
    file, how = Path(sys.argv[1]), sys.argv[2]
    if how == "own":
        ray_data.connect(os.cpu_count() or 1)
    import ray
    import ray.data

    if how != "own":
        ray.init(include_dashboard=False, num_cpus=(os.cpu_count() or 1) + 1, log_to_driver=False)
    dataset: ray.data.Dataset = ray.data.from_arrow(pa.table({"row": [0]}))
    for _ in range(POOLS):
        dataset = dataset.map_batches(
            Identity, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0, batch_format="pyarrow", batch_size=None
        )
    for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        file.write_text("here\n", encoding="ascii")
    if how == "own":
        ray_data.disconnect()
    else:
        ray.shutdown()


if __name__ == "__main__":
    main()
