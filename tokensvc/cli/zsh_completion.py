"""The completion script for zsh, in place of typer's.

With typer's, the first TAB in a shell completes nothing, because zsh loads the script at that moment and the script
then only registers its function. This one asks for completions as typer's script for fish does: a line for each, with a
tab before the description.
"""

from __future__ import annotations

INSTALLING = frozenset({"--install-completion", "--show-completion"})
SCRIPT = r"""
#compdef %(prog_name)s

%(complete_func)s() {
  local line
  local -a offered
  for line in "${(@f)$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _TYPER_COMPLETE_FISH_ACTION=get-args \
      %(autocomplete_var)s=complete_fish %(prog_name)s)}"; do
    [[ -n $line ]] && offered+=("${${line%%%%$'\t'*}//:/\\:}${${(M)line#*$'\t'}:+:${line#*$'\t'}}")
  done
  if (( $#offered )); then
    _describe '' offered
  else
    _files
  fi
}

if [[ $funcstack[1] == _%(prog_name)s ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""


def use_script() -> None:
    """Make typer print and install this script."""
    from typer import _completion_shared

    _completion_shared._completion_scripts["zsh"] = SCRIPT  # noqa: SLF001 - typer has no other way to replace it
