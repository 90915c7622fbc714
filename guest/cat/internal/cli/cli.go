// Package cli is the command line of the two cats.
package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"gocat/guest/solo5"
)

// Options is what the command line asks for.
type Options struct {
	Banner bool      // print the banner
	Netif  io.Writer // where package netif logs, nil if nowhere
}

// usage is what --help prints.
const usage = `usage: cat [--solo5:quiet|error|warn|info|debug] [-l netif:quiet] [--help]
Copies the network device "stdin" to the console until its end.
  --solo5:quiet   no banner; has to come first
  -l netif:quiet  no line about the device; also --logs=netif:quiet
`

// Exit status.
const (
	ExitError = 1
	ExitUsage = 64
)

// Start reads the command line and prints the banner. It ends the program after
// --help and after a mistake.
func Start() Options {
	level := os.Getenv("SOLO5") // the library kernel has taken --solo5:LEVEL
	o := Options{Banner: level == "" || level == "info" || level == "debug", Netif: os.Stdout}
	if o.Banner {
		banner()
	}
	for args := os.Args[1:]; len(args) > 0; args = args[1:] {
		a := args[0]
		switch {
		case (a == "-l" || a == "--logs") && len(args) > 1 && args[1] == "netif:quiet":
			args = args[1:]
			o.Netif = nil
		case a == "-lnetif:quiet", a == "--logs=netif:quiet":
			o.Netif = nil
		case a == "--help":
			fmt.Print(usage)
			os.Exit(0)
		default:
			fmt.Printf("cat: cannot use argument '%s', see --help\n", a)
			os.Exit(ExitUsage)
		}
	}
	return o
}

// Fail prints an error and ends the program.
func Fail(err error) {
	fmt.Println("cat: cannot read stdin:", err)
	os.Exit(ExitError)
}

const picture = `                            _
   __ _  ___   ___ __ _ ___| |_
  / _` + "`" + ` |/ _ \ / __/ _` + "`" + ` |_   _|
 | (_| | (_) | (_| (_| | | |_
  \__, |\___/ \___\__,_|  \__|
  |___/
`

func banner() {
	var b strings.Builder
	b.WriteString(picture)
	if info, err := solo5.ReadInfo(); err == nil {
		fmt.Fprintf(&b, "Solo5: Go bindings of gocat, %v, ABI 2\n", info.Target)
		fmt.Fprintf(&b, "Solo5: Memory map: %d MB addressable:\n", info.Memory>>20)
		fmt.Fprintf(&b, "Solo5:   reserved @ (0x0 - 0xfffff)\n")
		fmt.Fprintf(&b, "Solo5:    program @ (0x100000 - %#x)\n", info.HeapStart-1)
		fmt.Fprintf(&b, "Solo5:       heap >= %#x < stack < %#x\n", info.HeapStart, info.Memory)
	}
	os.Stdout.WriteString(b.String())
}
