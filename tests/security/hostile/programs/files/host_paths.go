// Tries to read a file of the host, and to enter what lies above the root through a descriptor, in Go.
// gvisor, microvm: denied
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

func read(path string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		return string(text), err
	}
}

func main() {
	path := os.Getenv("HOST_FILE")
	attempt("file", read(path))
	attempt("above", read("/work/"+strings.Repeat("../", 40)+path))
	attempt("root of init", read("/proc/1/root"+path))
	for fd := 3; fd < 256; fd++ {
		if err := syscall.Fchdir(fd); err == nil {
			attempt(fmt.Sprintf("above descriptor %d", fd), read(strings.Repeat("../", 40)+path))
		}
	}
	attempt("device", func() (string, error) {
		if err := syscall.Mknod("/tmp/sda", syscall.S_IFBLK|0o666, 8<<8); err != nil {
			return "", err
		}
		return read("/tmp/sda")()
	})
}
