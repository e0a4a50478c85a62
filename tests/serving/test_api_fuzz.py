"""The API, fuzzed from its own OpenAPI document: whatever is sent, no 500, and answers as the document says."""

import subprocess
import sys

import pytest
from serving_helpers import live


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "key"), [("both", ""), ("text_only", "sesame")])
def test_whatever_is_sent_the_answer_is_as_documented(request, tmp_path, kind, key):
    model = request.getfixturevalue(kind).served()
    with live(model, max_memes=4, max_text_characters=200, max_wait_s=0, api_key=key) as (address, _):
        command = [sys.executable, "-m", "schemathesis.cli", "run"]
        command += [f"http://{address[0]}:{address[1]}/openapi.json", "--checks", "all"]
        # A string of the right form need be no image; and the fields of a form have no types, all of them are text.
        command += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
        command += ["--max-examples", "60", "--mode", "all", "--seed", "1", "--no-color"]
        command += ["--generation-database", "none"]
        if key:
            command += ["--header", f"Authorization: Bearer {key}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
