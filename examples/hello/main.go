// Command hello greets. It is an ordinary Go program, and builds as a unikernel:
//
//	gocat build -o hello.spt ./examples/hello && gocat run hello.spt
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	who := "a Go program"
	if len(os.Args) > 1 {
		who = strings.Join(os.Args[1:], " ")
	}
	fmt.Println("Hello from", who)
}
