# Lets hostile programs of the shell say what they got and what was denied.
attempt() { # NAME COMMAND...
    name=$1
    shift
    if answer=$("$@" 2>&1); then said="got $name: $answer"; else said="denied $name: ${answer##*: }"; fi
    printf '%s' "$said" | head -c 300 | tr '\n' ' '
    echo
}

into() { # PATH TEXT: write it there
    printf '%s' "$2" >"$1"
}
