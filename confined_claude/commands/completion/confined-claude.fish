# Completion of confined-claude for fish. The command itself knows the answers; nothing of the current folder is run.

function __confined_claude_complete
    set -l word (commandline --current-token --cut-at-cursor)
    set -l words (commandline --current-process --cut-at-cursor --tokenize) "$word"
    set -l answers (command confined-claude --complete -- $words 2>/dev/null </dev/null)
    # Where there is no answer, files.
    if set -q answers[1]
        printf '%s\n' $answers
    else
        __fish_complete_path "$word"
    end
end

complete --command confined-claude --no-files --arguments '(__confined_claude_complete)'
