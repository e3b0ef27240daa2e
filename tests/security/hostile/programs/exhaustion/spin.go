// Tries to run for ever on every processor, deaf to every signal.
// With: timeout_s=2
// gvisor, microvm: timeout
package main

import (
	"os"
	"os/signal"
	"runtime"
)

func main() {
	signal.Notify(make(chan os.Signal, 1))
	for i := 0; i < 4*runtime.NumCPU(); i++ {
		go func() {
			for {
			}
		}()
	}
	select {}
}
