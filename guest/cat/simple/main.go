// Command simple is the simple one of mirage-cat's two cats: it listens on a
// network interface and prints each packet, of at most the MTU.
//
//	gocat build --net stdin -o simple.spt ./guest/cat/simple
//	uptime | gocat run --net stdin=@0 simple.spt --solo5:quiet -l netif:quiet
package main

import (
	"gocat/guest/cat/internal/cli"
	"gocat/guest/netif"
	"gocat/guest/solo5"
)

func main() {
	o := cli.Start()
	n, err := netif.Connect("stdin", o.Netif)
	if err != nil {
		cli.Fail(err)
	}
	err = n.Listen(0, func(packet []byte) {
		if err := solo5.ConsoleWrite(packet); err != nil {
			cli.Fail(err)
		}
	})
	if err != nil {
		cli.Fail(err)
	}
}
