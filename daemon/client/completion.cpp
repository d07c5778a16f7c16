// The scripts that make a shell ask `hatchctl __complete`. They hold no knowledge of their own.
#include "client/complete.hpp"

namespace hatchd::client {

namespace {

// To bash "=" ends a word, so key=value comes in three pieces: they are put together to ask, and only what is behind the
// "=" is given back.
constexpr std::string_view bash = R"script(# bash completion for hatchctl:
#   source <(hatchctl completion bash)
_hatchctl() {
  local words=() word joined=0 i line current
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((joined == 1 || (i > 1 && ${#words[@]} > 0))) && [[ $word == "=" || $joined == 1 ]]; then
      words[${#words[@]}-1]+=$word
    else
      words+=("$word")
    fi
    [[ $word == "=" ]] && joined=1 || joined=0
  done
  current=${words[${#words[@]}-1]}
  COMPREPLY=()
  while IFS= read -r line; do
    line=${line%%$'\t'*}
    [[ $line == *= ]] && compopt -o nospace
    [[ $current == *=* && $COMP_WORDBREAKS == *=* ]] && line=${line#"${current%%=*}="}
    printf -v line '%q' "$line"
    COMPREPLY+=("$line")
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2> /dev/null)
}
complete -o default -F _hatchctl hatchctl
)script";

constexpr std::string_view zsh = R"script(#compdef hatchctl
# zsh completion for hatchctl: as a file _hatchctl in a folder of $fpath, or
#   source <(hatchctl completion zsh)
_hatchctl() {
  local line word
  local -a plain open plain_shown open_shown
  for line in ${(f)"$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)"}; do
    word=${line%%$'\t'*}
    if [[ $word == *= ]]; then
      open+=("$word")
      open_shown+=("${line/$'\t'/  -- }")
    else
      plain+=("$word")
      plain_shown+=("${line/$'\t'/  -- }")
    fi
  done
  (( $#open )) && compadd -l -S '' -d open_shown -a -- open
  (( $#plain )) && compadd -l -d plain_shown -a -- plain
  (( $#open + $#plain )) || _files
}
if [[ $funcstack[1] == _hatchctl ]]; then
  _hatchctl "$@"
else
  compdef _hatchctl hatchctl
fi
)script";

constexpr std::string_view fish =
    R"script(# fish completion for hatchctl: as a file hatchctl.fish in ~/.config/fish/completions, or
#   hatchctl completion fish | source
function __hatchctl_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    $program __complete $words (commandline -ct) 2>/dev/null
end
complete -c hatchctl -f -a '(__hatchctl_complete)'
)script";

}  // namespace

std::string_view completion_script(std::string_view shell) {
  if (shell == "bash") return bash;
  if (shell == "zsh") return zsh;
  if (shell == "fish") return fish;
  return {};
}

}  // namespace hatchd::client
