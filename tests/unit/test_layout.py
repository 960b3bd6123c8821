"""Facts of the repository's layout that nothing else would notice."""

import operator
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_folder_named_operator_does_not_hide_the_standard_library():
    assert Path(operator.__file__).parent == Path(subprocess.__file__).parent
    for folder in ("client", "worker", "operator", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()
    code = "import operator, collections; print(operator.__file__)"
    result = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "site-packages" not in result.stdout


def test_the_readme_names_only_files_that_exist():
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), f"{page}: {target}"


def test_every_make_target_has_a_line_in_help():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)).split())
    described = set(re.findall(r"^([a-z][a-z-]*):.*## ", makefile, re.MULTILINE))
    assert phony == described
