"""What happens to a workload between its acceptance and its result."""
