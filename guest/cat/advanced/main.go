// Command advanced is the advanced one of mirage-cat's two cats: it reads the
// device with a buffer of its own, as much in one read as there is.
//
//	gocat build --net stdin -o advanced.spt ./guest/cat/advanced
//	uptime | gocat run --net stdin=@0 advanced.spt --solo5:quiet
package main

import (
	"fmt"
	"io"

	"gocat/guest/cat/internal/cli"
	"gocat/guest/fd"
	"gocat/guest/solo5"
)

// bufferSize is how much one read takes, in bytes: the capacity of a pipe that
// gocat has enlarged.
const bufferSize = 1 << 20

func main() {
	o := cli.Start()
	in, err := fd.Open("stdin")
	if err != nil {
		cli.Fail(err)
	}
	if d := in.Device(); o.Netif != nil {
		fmt.Fprintf(o.Netif, "INF [netif] Plugging into %s with mac %s mtu %d\n", d.Name, d.MAC, d.MTU)
	}
	buf := make([]byte, bufferSize)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return
		}
		if err != nil {
			cli.Fail(err)
		}
		if err := solo5.ConsoleWrite(buf[:n]); err != nil {
			cli.Fail(err)
		}
	}
}
