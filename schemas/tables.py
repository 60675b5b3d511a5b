"""Arrow schemas of every hop, from the listing to the output tables. The contract between two stages."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

import pyarrow as pa

from schemas.unit import Locator, UnitFacts

FAILURE = pa.struct([("stage", pa.string()), ("kind", pa.string()), ("message", pa.string()), ("attempts", pa.int32())])

_ARROW: dict[Any, pa.DataType] = {
    int: pa.int32(),
    int | None: pa.int32(),
    float | None: pa.float64(),
    bool | None: pa.bool_(),
    str | None: pa.string(),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[str, ...]: pa.list_(pa.string()),
}


def columns_of(record: type) -> list[pa.Field]:
    """A nullable column for each field of a dataclass, by its name and annotation."""
    types = get_type_hints(record)
    return [pa.field(field.name, _ARROW[types[field.name]]) for field in fields(record)]


LOCATOR_FIELDS = columns_of(Locator)
FACT_FIELDS = columns_of(UnitFacts)

# One row per input, written before any work: `_job/inputs/`. Columns of an input table follow these.
INPUTS = pa.schema(
    [
        ("input_id", pa.string()),  # sha256 of the uri (and row), 16 hex digits
        ("input_uri", pa.string()),
        ("media", pa.string()),  # operators/media/formats.py; null when the name does not tell
        ("size_bytes", pa.int64()),  # null when missing
        ("version", pa.string()),  # of what lies elsewhere: its ETag, and where in it a part lies; null: not known yet
        ("modified_ns", pa.int64()),  # of what lies here: since the epoch; null where it cannot be had
        ("error", FAILURE),  # set when listing already knows that it cannot be read
        ("slice", pa.int32()),  # the file of the results that its rows are in; null until it is a job's input
    ]
)

# What the probe plans for one unit. An input that cannot be read is one such row with `error` set; so is the
# unreadable rest of a truncated video.
PLANNED_UNIT_FIELDS = [
    pa.field("input_id", pa.string()),
    pa.field("input_uri", pa.string()),
    pa.field("version", pa.string()),  # that was probed, of what lies elsewhere: what is decoded must be the same
    pa.field("media", pa.string()),
    pa.field("unit_index", pa.int32()),  # 0-based within the input
    pa.field("unit_count", pa.int32()),  # units planned for this input
    pa.field("unit_kind", pa.string()),  # schemas.decode.UnitKind; null for an input of unknown kind
    *LOCATOR_FIELDS,
    pa.field("page_count", pa.int32()),  # of a whole document or episode; null for its parts
    pa.field("decoded_bytes", pa.int64()),  # estimate of the RGB bytes that decoding will give
    # what the probe learnt about the file that this unit needs, in its format's own form; null: to be looked up anew
    pa.field("index", pa.string()),
    # of the round that asks: which one asked for this unit anew (a row of an earlier one gives way), how often it was
    # asked since, and which of its requests are to be asked; null: all
    pa.field("generation", pa.int32()),
    pa.field("attempt", pa.int32()),
    pa.field("requests", pa.list_(pa.int32())),
    pa.field("error", FAILURE),
]
PLANNED_UNITS = pa.schema(PLANNED_UNIT_FIELDS)

PICTURE = pa.struct(
    [
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("data", pa.large_binary()),  # as schemas.request.Picture has it, at the size that the model sees
    ]
)

# A line of text of a page or picture, or one of the pieces of a long line.
LINE_IMAGE = pa.struct(
    [
        ("line", pa.int32()),  # 0-based, in reading order
        ("bbox_px", pa.list_(pa.float64())),  # of the whole line: x0, y0, x1, y1 in pixels of the original
        ("picture", PICTURE),
    ]
)

# What a decoder gives for one planned unit.
DECODED_FIELDS = [
    *FACT_FIELDS,
    pa.field("pictures", pa.list_(PICTURE)),  # one for pages and images, the sampled frames for clips
    pa.field("line_images", pa.list_(LINE_IMAGE)),  # null when units are not split into lines
    pa.field("full_res", PICTURE),  # at its own size, for crops; null where `pictures` show as much, or nobody zooms in
    pa.field("decode_s", pa.float64()),
    pa.field("error", FAILURE),
]
DECODED = pa.schema(DECODED_FIELDS)

UNIT_FIELDS = [*(field for field in PLANNED_UNIT_FIELDS if field.name != "error"), *DECODED_FIELDS]
UNITS = pa.schema(UNIT_FIELDS)

# The chunk manifest: `_job/chunks/`. A chunk is what is decoded together, and committed once per task.
CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("tasks", pa.list_(pa.string())),
        ("passthrough", pa.large_binary()),  # IPC stream: the input table's other columns, one row per unit
        ("units", pa.list_(pa.struct(PLANNED_UNIT_FIELDS))),
    ]
)

# What came of a piece of the inputs when it was planned: it travels with the first of its chunks that are to be done,
# or alone where there is none, so that the driver counts what others plan. planned_rows: of its chunks; again_rows:
# those of the pending that take the place of rows.
PLAN = pa.field(
    "plan",
    pa.struct(
        [
            *((key, pa.int32()) for key in ("round", "piece")),
            *((key, pa.int64()) for key in ("inputs", "planned_rows", "committed_rows", "pending_rows", "again_rows")),
            ("pending_chunks", pa.int64()),
            ("lacks", pa.list_(pa.string())),
            # when it was planned, since the epoch, and how long that took; null where the driver did it
            ("began_s", pa.float64()),
            ("busy_s", pa.float64()),
            # why nothing more can be planned, which ends the run: the output or the spec is not as it was, or a store
            # is lost
            ("conflict", pa.string()),
            ("lost", pa.string()),
        ]
    ),
)

# A chunk on its way to the decoders.
QUEUED_CHUNKS = pa.schema([*CHUNKS, PLAN])

# What the decoders of a node lacked to be locked down: names in operators/processes/isolation.py.
LACKS = pa.field("lacks", pa.list_(pa.string()))

# How often stages asked a store again that said no for now, since their chunk before; the reason is the last one.
RETRIES = pa.field(
    "retries", pa.list_(pa.struct([("stage", pa.string()), ("times", pa.int64()), ("reason", pa.string())]))
)

# Calls that worked on a chunk so far: `busy_s` is all that one took, whatever it waited for (the start of a child, what
# goes to and fro). Of a chunk that is several parts, the first tells of those before it.
SPENT = pa.field(
    "spent",
    pa.list_(
        pa.struct(
            [
                ("stage", pa.string()),  # decode, commit, publish (which is within commit), and others
                ("began_s", pa.float64()),  # since the epoch
                ("busy_s", pa.float64()),
            ]
        )
    ),
)

# Why no input can be had any more: its store is lost, which ends the run. Then there are no units, rows or figures.
LOST = pa.field("lost", pa.string())

# The same chunk after decoding, one row per chunk: what travels to the engine.
DECODED_CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("tasks", pa.list_(pa.string())),
        ("passthrough", pa.large_binary()),
        ("units", pa.list_(pa.struct(UNIT_FIELDS))),
        PLAN,
        LACKS,
        RETRIES,
        SPENT,
        LOST,
    ]
)

# What an engine did until a chunk was answered, in seconds since the epoch; a later snapshot of an actor replaces an
# earlier one.
ENGINE_USE = pa.struct(
    [
        ("actor", pa.string()),
        ("slots", pa.int32()),
        ("since_s", pa.float64()),  # its first request
        ("until_s", pa.float64()),  # its last answer
        ("busy_s", pa.float64()),  # slots in use, summed over that time
        ("parse_s", pa.float64()),  # in which the actor made requests and read replies
        ("open_s", pa.float64()),  # in which it opened whole inputs
        ("deaths", pa.int32()),  # how often it was started anew
        ("death", pa.string()),  # why it died last, and the last lines of its log; null where it never did
        ("log", pa.string()),  # on the machine of the actor
    ]
)

# One answered chunk and task on its way to the commit. `rows` is an Arrow IPC stream of the task's own result
# schema: a Ray dataset has one schema, the tasks have many.
ANSWERED = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("task", pa.string()),
        ("rows", pa.large_binary()),
        ("engine", ENGINE_USE),
        LACKS,
        RETRIES,
        SPENT,
        ("fault", pa.string()),  # why no engine can be had; then there are no rows
        LOST,
        PLAN,
    ]
)

# Rows that failed alike; the message is that of the first.
FAILED_ROWS = pa.struct([*((key, pa.string()) for key in ("status", "stage", "kind", "message")), ("rows", pa.int64())])

# What the commit tells the driver about one part.
RECEIPTS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("task", pa.string()),
        # committed, duplicate (another attempt was first), refused (by the store, which takes no others either), failed
        # (there is something else in its place), no_engine or lost (a store of inputs), planned (a plan without a part)
        ("outcome", pa.string()),
        ("message", pa.string()),  # why it failed
        ("rows", pa.int64()),
        ("ok", pa.int64()),
        ("doubtful", pa.int64()),  # of these (schemas/state.py)
        ("failures", pa.list_(FAILED_ROWS)),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("infer_s", pa.float64()),
        ("engine", ENGINE_USE),
        LACKS,
        RETRIES,
        PLAN,
        SPENT,
    ]
)


# One exchange with the engine, of rows that took more than one.
ATTEMPT = pa.struct(
    [
        ("note", pa.string()),  # what was done differently: "enlarged", "rotated 90"
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
    ]
)

# What came of trying code out, over committed rows. Null for tasks without a trial, and until it was made.
CODE_CHECK = pa.struct(
    [
        # shown (a page or drawing), read (a diagram or program), no_browser (none is installed), or what became of the
        # browser: timeout, out_of_memory, crashed
        ("outcome", pa.string()),
        ("message", pa.string()),  # why it was not shown or read
        (
            "isolation",
            pa.string(),
        ),  # namespaces, or browser where the machine gives none: operators/code_check/isolation.py
        ("screenshot", pa.string()),  # PNG, relative to the output folder
        ("width_px", pa.int32()),  # of the screenshot
        ("height_px", pa.int32()),
        # what is printed there against the PDF's own text of the input; null where nothing says what the input reads:
        # then nothing here judges words
        ("missing_words", pa.int32()),
        ("extra_words", pa.int32()),
        # how like the input it looks, 0 to 1 (operators/code_check/visual_similarity.py); null where the input shows no
        # blocks of print
        ("score", pa.float64()),  # mean of the next four, of which none judges what words say: wrong numbers score high
        ("block_match", pa.float64()),
        ("text", pa.float64()),  # how alike words are printed, not whether they are the same
        ("position", pa.float64()),
        ("color", pa.float64()),
        ("ssim", pa.float64()),
        ("errors", pa.list_(pa.string())),  # of the console; the first ones
        ("refused", pa.list_(pa.string())),  # what it asked for and did not get; the first ones
        ("imports", pa.list_(pa.string())),  # of a program: the modules that it names
        ("unresolved", pa.list_(pa.string())),  # of a diagram: ids that name no cell
    ]
)

# What the checks found: the same for all tasks. Null for rows without a reply.
VERIFIED = pa.struct(
    [
        ("ok", pa.bool_()),  # no check that could be made found a fault
        ("faults", pa.list_(pa.string())),  # schemas.task.FAULTS
        ("dropped", pa.int32()),  # pieces of the reply that could not be read
        ("cer", pa.float64()),  # edits per character of the PDF's own text; null where there is none
        ("missing_words", pa.int32()),  # words of the PDF's own text that the result lacks
        ("extra_words", pa.int32()),  # words of the result that the PDF's own text lacks
        ("code_check", CODE_CHECK),
    ]
)


# A committed part whose code is to be tried out, and what came of it.
CODE_UNCHECKED = pa.schema([("chunk_id", pa.string()), ("task", pa.string())])
CODE_CHECKED = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("task", pa.string()),
        ("rows", pa.int64()),  # that were tried out
        ("outcomes", pa.list_(pa.string())),  # of each of them
        ("message", pa.string()),  # why the part stays as it was
        ("refused", pa.bool_()),  # by the store, which takes no others either
        LACKS,
        LOST,
    ]
)


def passthrough_fields(schema: pa.Schema) -> list[pa.Field]:
    """Of a part: the columns that came from the input table."""
    standard = set(results_schema(pa.null(), []).names)
    return [field for field in schema if field.name not in standard]


def results_schema(result: pa.DataType, passthrough: list[pa.Field]) -> pa.Schema:
    """Columns of a task's Parquet: `result` in the task's own type, `passthrough` from the input table.

    The task itself is the folder (`results/task=ocr/`), which DuckDB, Polars and Spark read as a column.
    """
    return pa.schema(
        [
            pa.field("input_id", pa.string(), nullable=False),
            pa.field("input_uri", pa.string(), nullable=False),
            pa.field("unit_index", pa.int32(), nullable=False),
            pa.field("unit_count", pa.int32(), nullable=False),
            pa.field("unit_kind", pa.string()),
            pa.field("media", pa.string()),  # what the input is opened as; null where nothing tells
            pa.field("request_index", pa.int32(), nullable=False),
            *LOCATOR_FIELDS,
            pa.field("page_count", pa.int32()),  # of a whole document or episode
            *passthrough,
            *FACT_FIELDS,
            pa.field("parameters", pa.string()),  # JSON object: what the prompt took from the input table
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", FAILURE),
            pa.field("result", result),
            pa.field("text", pa.string()),  # the raw reply, so that a better parser never needs the GPU again
            pa.field("reasoning", pa.string()),  # what the model thought before it; null unless the spec wants it
            pa.field("finish_reason", pa.string()),
            pa.field("attempts", pa.list_(ATTEMPT)),  # null when the first reply was the answer
            pa.field("verified", VERIFIED),
            pa.field("prompt_tokens", pa.int64(), nullable=False),
            pa.field("output_tokens", pa.int64(), nullable=False),
            pa.field("reasoning_tokens", pa.int64()),  # of these; null in folders from before it was counted
            pa.field("decode_s", pa.float64(), nullable=False),
            pa.field("infer_s", pa.float64(), nullable=False),
            pa.field("generation", pa.int32(), nullable=False),  # the round of the job that asked for this unit
            pa.field("attempt", pa.int32(), nullable=False),  # 1, and more where it was asked again
            pa.field("chunk_id", pa.string(), nullable=False),
            pa.field("job", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("weights_sha256", pa.string(), nullable=False),
            pa.field("prompt_sha256", pa.string(), nullable=False),
            pa.field("spec_sha256", pa.string(), nullable=False),
            pa.field("version", pa.string(), nullable=False),
        ]
    )


UNIT_COLUMNS = tuple(name for name in UNITS.names if name in results_schema(pa.null(), []).names and name != "error")
"""The columns of the result rows that a unit brings along."""
