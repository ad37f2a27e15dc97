"""What the agent gives back to the system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: A process with all of the agent's libraries, before and after; and a proof that it still can do something.
PROGRAM = """
import json, re, ssl
from pathlib import Path
import pgdoctor.agent.process
from pgdoctor.agent import memory

def mapped():
    return int(re.search(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

memory.keep_small()
ssl.create_default_context()
before = mapped()
memory.unmap_program()
after = mapped()
memory.give_back()
ssl.create_default_context()
print(json.dumps([before, after, json.loads(json.dumps({"still": "here"}))]))
"""


def test_what_only_the_start_needed_is_unmapped_and_all_goes_on():
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc here: nothing is unmapped")
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=True)
    before, after, rest = json.loads(run.stdout)
    assert after < before * 0.8
    assert rest == {"still": "here"}
