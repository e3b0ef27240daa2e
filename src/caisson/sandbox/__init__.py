"""What a sandbox is, and the protocol spoken with what runs inside one."""
