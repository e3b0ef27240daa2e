// Tries to reach the host and the machines beside it, in Go, which resolves names by itself.
// With: network=egress
// gvisor: denied
package main

import (
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	places := append(strings.Split(os.Getenv("HOST_ADDRESSES"), ","), "rebound.example", "169.254.169.254", "localhost")
	for _, place := range places {
		attempt(place, func() (string, error) {
			connection, err := net.DialTimeout("tcp", net.JoinHostPort(place, os.Getenv("HOST_PORT")), time.Second)
			if err != nil {
				return "", err
			}
			said := make([]byte, 100)
			count, err := connection.Read(said)
			return string(said[:count]), err
		})
	}
}
