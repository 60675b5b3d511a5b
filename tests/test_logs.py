"""Log lines: none unless asked for, on stderr or in the file of a job, which is there from its first line on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jobs.logs import SHOWN, to_file, to_stderr


@pytest.mark.parametrize(("verbose", "words"), [(0, "w W"), (1, "i w W"), (2, "d i w W")])
def test_more_is_logged_with_each_v_and_of_others_only_what_warns(
    verbose: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with to_stderr(verbose):
        ours, others = logging.getLogger("jobs.x"), logging.getLogger("library")
        for log, names in ((ours, "diw"), (others, "DIW")):
            log.debug(names[0])
            log.info(names[1])
            log.warning(names[2])
        logging.getLogger(SHOWN).info("on the terminal already")
    ours.warning("nobody listens any more")
    assert " ".join(line[-1] for line in capsys.readouterr().err.splitlines()) == words


def test_the_file_of_a_job_is_there_from_its_first_line_on_and_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.log"
    with to_stderr(0), to_file(path):
        assert not path.parent.exists()
        logging.getLogger(SHOWN).info("5 inputs")
        logging.getLogger("pipelines.run").debug("nothing to keep")
        assert "INFO jobs.display: 5 inputs" in path.read_text()
    with to_file(path):
        logging.getLogger(SHOWN).info("again")
    assert path.read_text().count("\n") == 2


@pytest.mark.parametrize("path", ["/dev/full", "/dev/null/logs/run.log"])
def test_a_file_that_cannot_be_written_is_no_reason_to_end(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with to_stderr(0), to_file(Path(path)):
        logging.getLogger(SHOWN).info("5 inputs")
        logging.getLogger("jobs.x").warning("a fault")
    assert [line[-7:] for line in capsys.readouterr().err.splitlines()] == ["a fault"]
