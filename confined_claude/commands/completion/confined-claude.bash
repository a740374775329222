# shellcheck shell=bash
# Completion of confined-claude for bash. The command itself knows the answers; nothing of the current folder is run.

_confined_claude() {
    local line word=${COMP_WORDS[COMP_CWORD]}
    # What stands before it is a word of its own here.
    if [[ $word == '=' ]]; then word=; fi
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        if [[ $line == "$word"* ]]; then COMPREPLY+=("$line"); fi
    done < <(command confined-claude --complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null </dev/null)
}

# Where there is no answer, files.
complete -o default -F _confined_claude confined-claude
