# Tries to have a system call exchanged behind a filter: a traced child of its own. Where that works, it is its own.
# gvisor, microvm: denied or own
. ./attempt.sh
attempt "traced" perl -e '
    my $pid = fork // die;
    if ($pid == 0) { syscall(101, 0, 0, 0, 0) == 0 or exit 3; kill STOP => $$; open F, "<", $ENV{HOST_FILE} or exit 4; exit 0 }
    waitpid $pid, 2; syscall(101, 7, $pid, 0, 0); waitpid $pid, 0; die "read" if $? == 0; exit($? >> 8 == 4 ? 0 : 1)'
attempt "file" cat "$HOST_FILE"
