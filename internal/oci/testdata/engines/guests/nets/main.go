// Command nets has two network devices, one and two. On each it asks by ARP for
// an address, the last two of its arguments, until something answers.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"gocat/guest/solo5"
)

func main() {
	targets := os.Args[len(os.Args)-2:]
	for i, name := range []string{"one", "two"} {
		if err := ask(name, netip.MustParseAddr(targets[i])); err != nil {
			fmt.Fprintln(os.Stderr, "nets:", name, err)
			os.Exit(1)
		}
	}
}

func ask(name string, target netip.Addr) error {
	d, err := solo5.Acquire(name, solo5.Net)
	if err != nil {
		return err
	}
	mac, ip := d.MAC, target.As4()
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1) // an ARP request, IPv4 on Ethernet
	frame = append(frame, mac...)
	frame = append(frame, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // from nobody yet (RFC 5227)
	frame = append(frame, ip[:]...)
	in := make([]byte, 2048)
	for range 300 {
		if _, err := solo5.NetWrite(d.Handle, frame); err != nil {
			return err
		}
		for range 20 {
			n, err := solo5.NetRead(d.Handle, in)
			if err == nil && n >= 42 && [4]byte(in[28:32]) == ip && in[21] == 2 {
				fmt.Println(name, mac, "answered by", target)
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return fmt.Errorf("%v does not answer", target)
}
