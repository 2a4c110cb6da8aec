# Completion of `python -m pipelines ...` in bash:  source infra/completion.bash
# The candidates come from the program itself; after other words than `-m pipelines`, bash completes file names as ever.
_pipelines() {
    [ "${COMP_WORDS[*]:1:2}" = "-m pipelines" ] || return
    local IFS=$'\n'
    COMPREPLY=($(_PIPELINES_COMPLETE=complete_bash COMP_WORDS="pipelines ${COMP_WORDS[*]:3}" COMP_CWORD=$((COMP_CWORD - 2)) \
        "${COMP_WORDS[0]}" -m pipelines))
}
complete -o default -F _pipelines python python3
