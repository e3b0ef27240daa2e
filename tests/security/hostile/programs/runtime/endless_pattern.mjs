// Tries to hang where no deadline of the language reaches: inside a regular expression.
// With: timeout_s=2
// isolate, gvisor: timeout
/^(a+)+$/.test("a".repeat(64) + "b")
