"""The parts that run a page's blocks: they find every block, carry state over, and notice a wrong output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.code_blocks import CodeBlock, code_blocks, malformed_fences
from tests.docs.page_shell import BASH, PageShell
from tests.docs.shown_output import assert_shown
from tests.support.processes import environment

PAGE = """
# Title

```sh skip="aws"
never
```

1. A list:

   ```sh
   echo '{"a": 1}'
   ```
   ```json
   {"a": 1}
   ```

```python title="app.py"
print("a")
```

Not an output:

```text
a
```
"""


def test_the_blocks_of_a_page_are_found_with_options_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    skipped, run, file, text = code_blocks(path, "page.md")
    assert (skipped.skip, skipped.runs, skipped.line) == ("aws", False, 4)
    assert run.runs
    assert run.text == "echo '{\"a\": 1}'\n"
    assert run.output is not None
    assert run.output.text == '{"a": 1}\n'
    assert (file.file, file.runs) == ("app.py", False)
    assert (text.language, text.runs) == ("text", False)


@pytest.mark.parametrize(
    "markdown",
    [
        "~~~sh\nfalse\n~~~\n",
        "> ```sh\n> false\n> ```\n",
        "```sh skip=aws\nfalse\n```\n",
        '```sh titel="a"\nfalse\n```\n',
        "```sh\nfalse\n",
        "```\nfalse\n```\n",
    ],
)
def test_a_block_in_a_form_that_is_not_read_is_reported(markdown: str) -> None:
    assert malformed_fences(PAGE) == []
    assert malformed_fences(PAGE + markdown)


@pytest.mark.parametrize(
    ("language", "shown", "printed"),
    [
        ("json", '{"a": "x…", "id": "r1"}', '{"a": "xyz", "id": "q"}'),
        ("json", '{"at": "2026-11-21T10:00:00Z"}', '{"at": "2027-01-01T00:00:00Z"}'),
        ("json", '[1, "…"]', "[1, 2, 3]"),
        ("json", '{"a": 1, "…": "…"}', '{"a": 1, "b": 2}'),
        ("text", "a  b\n…\nd", "a b\nc\nc\nd\n"),
        ("text", "a\n…\nd", "a\nd\n"),
        ("text", "until 2026-11-21T10:00:00Z.", "until 2027-01-02T03:04:05Z."),
    ],
)
def test_an_output_is_accepted_that_differs_only_where_it_may(language: str, shown: str, printed: str) -> None:
    assert_shown(language, shown, printed, "page.md:1")


@pytest.mark.parametrize(
    ("language", "shown", "printed"),
    [
        ("json", '{"a": 1}', '{"a": 2}'),
        ("json", '{"a": 1}', '{"a": 1, "b": 2}'),
        ("json", '{"a": 1, "b": 2}', '{"a": 1}'),
        ("json", "[1]", "[1, 2]"),
        ("json", '{"at": "2026-11-21T10:00:00Z"}', '{"at": "never"}'),
        ("json", '{"id": "r1"}', '{"id": 1}'),
        ("json", '{"a": true}', '{"a": 1}'),
        ("text", "a\nb", "a\nc"),
        ("text", "a", "a\nb"),
        ("text", "a.c", "abc"),
    ],
)
def test_any_other_difference_fails(language: str, shown: str, printed: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        assert_shown(language, shown, printed, "page.md:1")


def block(text: str, **options: str) -> CodeBlock:
    return CodeBlock("page.md", 1, "sh", options, text)


@pytest.fixture
def shell(tmp_path: Path) -> PageShell:
    return PageShell(tmp_path, environment(tmp_path / "home"), {"port 8080": "port 9"})


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
class TestPageShell:
    def test_directory_and_variables_carry_over(self, shell: PageShell, tmp_path: Path) -> None:
        shell.run(block("x='a b'; export y=c; mkdir sub; cd sub"))
        shell.run(block('[ "$x" = "a b" ]; [ "$(printenv y)" = c ]; [ "${PWD##*/}" = sub ]'))
        shell.run(block("text\n", title="file"))
        assert (tmp_path / "sub/file").read_text() == "text\n"

    @pytest.mark.parametrize("text", ["false; true", "false | true", 'echo "$UNSET"', "exit 3"])
    def test_a_failing_command_fails_the_block(self, shell: PageShell, text: str) -> None:
        with pytest.raises(AssertionError, match=r"page\.md:1 exited with"):
            shell.run(block(text))

    def test_an_expected_failure_has_to_happen(self, shell: PageShell) -> None:
        shell.run(block("exit_with() { return 4; }; exit_with", exit="4"))
        with pytest.raises(AssertionError, match="exited with 0 instead of 4"):
            shell.run(block("true", exit="4"))

    def test_what_a_page_names_literally_is_replaced(self, shell: PageShell) -> None:
        shown = CodeBlock("page.md", 3, "text", {}, "port 8080\n")
        shell.run(block("echo port 8080; printf 'port %s\\n' 9 | grep -c 9 > /dev/null")._replace(output=shown))
