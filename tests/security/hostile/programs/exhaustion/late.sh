# Tries to go on after its end: children that have left its session and ignore every signal.
# gvisor, microvm: completed
for number in 1 2 3; do
    setsid nohup sh -c 'trap "" TERM HUP INT QUIT; sleep 601' >/dev/null 2>&1 &
done
