#compdef confined-claude
# Completion of confined-claude for zsh. The command itself knows the answers; nothing of the current folder is run.
# To be sourced, or in a directory of $fpath as _confined-claude.

_confined-claude() {
    local line
    local -a answers
    while IFS= read -r line; do
        answers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done < <(command confined-claude --complete -- "${(@)words[1,CURRENT]}" 2>/dev/null </dev/null)
    # Where there is no answer, files.
    if (( $#answers )); then
        _describe confined-claude answers
    else
        _files
    fi
}

if [[ $funcstack[1] == _confined-claude ]]; then
    _confined-claude "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _confined-claude confined-claude
fi
