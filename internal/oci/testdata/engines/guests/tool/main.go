// Command tool is the unikernel of most cases: its first argument says what it
// does.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "", "")
	n, _ := strconv.Atoi(args[1])
	switch args[0] {
	case "exit":
		os.Exit(n)
	case "echo":
		fmt.Println(strings.Join(os.Args[2:], " "))
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "end of input")
	case "line": // answers a line in capitals
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		fmt.Println(strings.ToUpper(strings.TrimSpace(line)), err)
	case "lines": // n lines of 100 bytes, and with stay no end
		w := bufio.NewWriter(os.Stdout)
		for i := range n {
			fmt.Fprintf(w, "%09d %s\n", i, strings.Repeat(string(rune('a'+i%26)), 89))
		}
		w.Flush()
		if args[2] == "stay" {
			time.Sleep(time.Hour)
		}
	case "wait": // until SIGTERM ends it as it ends every program
		fmt.Println("waiting")
		time.Sleep(time.Hour)
	case "term": // ends in order
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		fmt.Println("asked to end")
		os.Exit(7)
	case "tick":
		for i := 0; ; i++ {
			fmt.Println(i)
			time.Sleep(20 * time.Millisecond)
		}
	case "eat", "grow": // n MB of memory, at once or in time
		var all [][]byte
		for range n {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			if args[0] == "grow" {
				time.Sleep(20 * time.Millisecond)
			}
		}
		fmt.Println("ate", len(all))
	default:
		fmt.Fprintf(os.Stderr, "tool: %q is not known\n", args[0])
		os.Exit(2)
	}
}
