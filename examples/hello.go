// A function in Go: what Handler returns is the output.
package main

import (
	"encoding/json"
	"fmt"
)

func Handler(input json.RawMessage) (any, error) {
	person := struct{ Name string }{"world"}
	if err := json.Unmarshal(input, &person); err != nil {
		return nil, err
	}
	fmt.Println("Go greets", person.Name)
	return map[string]string{"greeting": "hello, " + person.Name}, nil
}
