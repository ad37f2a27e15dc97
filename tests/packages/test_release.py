"""The release recipe: the same commit gives the same bytes, and a signed provenance names them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.shipped import DOCKER
from tests.packages.tools import find_program, run, succeed

CHECKOUT = DOCKER.parent


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "key"
    succeed(find_program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", file)
    return file


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    succeed("git", "clone", "--quiet", CHECKOUT, folder)
    return folder


def release(clone: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    return run(sys.executable, clone / ".ci" / "release", *words)


def verify(statement: Path, key: Path, content: bytes) -> bool:
    """As a user does, who has the public key."""
    allowed = key.with_suffix(".allowed")
    allowed.write_text(f"pgdoctor {key.with_suffix('.pub').read_text()}")
    signature = statement.with_name(f"{statement.name}.sig")
    words = ["-Y", "verify", "-f", allowed, "-I", "pgdoctor", "-n", "pgdoctor-release", "-s", signature]
    done = subprocess.run(["ssh-keygen", *map(str, words)], input=content, capture_output=True, check=False)
    return done.returncode == 0


def test_release_is_reproducible_and_its_signed_provenance_names_each_file(clone, key, tmp_path):
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        done = release(clone, key, folder)
        assert done.returncode == 0, done.stderr
    statement = json.loads((folders[0] / "provenance.json").read_text())
    named = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    built = {file.suffix: file for file in folders[0].iterdir() if file.name.startswith("pgdoctor-")}
    assert built.keys() == {".whl", ".gz"}
    for file in built.values():
        assert named[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()
    commit = succeed("git", "-C", clone, "rev-parse", "HEAD").strip()
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["commit"] == commit
    content = (folders[0] / "provenance.json").read_bytes()
    assert verify(folders[0] / "provenance.json", key, content)
    assert not verify(folders[0] / "provenance.json", key, content.replace(b"sha256", b"sha255"))


def test_release_of_no_commit_or_without_a_key_is_refused_in_one_line(clone, key, tmp_path):
    nothing = release(clone, tmp_path / "none")
    (clone / "README.md").write_text("changed")
    changed = release(clone, key)
    for done, said in ((nothing, "no key"), (changed, "not committed")):
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
