// Lets hostile programs in Go say what they got and what was denied.
package main

import "fmt"

func attempt(name string, what func() (string, error)) {
	value, err := what()
	if err != nil {
		fmt.Printf("denied %s: %v\n", name, err)
		return
	}
	if len(value) > 300 {
		value = value[:300]
	}
	fmt.Printf("got %s: %q\n", name, value)
}
