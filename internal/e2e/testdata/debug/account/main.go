// Command account is a Go program for the tests of gocat build --debug. It ends in
// a panic.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

type account struct {
	name  string
	cents int
}

var total int

func add(a *account, n int) int {
	a.cents += n
	total += n
	return a.cents
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "crash" {
		debug.SetTraceback("crash")
	}
	a := &account{name: "alice"}
	for i := 1; i <= 3; i++ {
		fmt.Println(add(a, i))
	}
	var none *account
	fmt.Println(add(none, total))
}
