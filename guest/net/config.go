//lint:file-ignore U1000 only images read a command line

package net

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// config is what the guest's command line says of addresses.
type config struct {
	addresses   []netip.Prefix
	gateways    []netip.Addr
	nameservers []netip.Addr
}

// Words of the command line, which MirageOS has too. The library kernel takes
// them away (guest/kernel, args.go).
const (
	wordIPv4        = "--ipv4="
	wordIPv4Gateway = "--ipv4-gateway="
	wordIPv6        = "--ipv6="
	wordIPv6Gateway = "--ipv6-gateway="
	wordNameserver  = "--nameserver="
)

// static says that the IPv4 address is given and no DHCP server is asked.
func (c config) static() bool { return len(c.addresses) > 0 }

// readConfig reads the words.
func readConfig(words []string) (c config, err error) {
	for _, w := range words {
		name, v, _ := strings.Cut(w, "=")
		switch name + "=" {
		case wordIPv4, wordIPv6:
			p, err := netip.ParsePrefix(v)
			if err != nil || p.Addr().Is4() != (name+"=" == wordIPv4) || p.Addr().IsUnspecified() {
				return c, fmt.Errorf("%s: want %s=ADDRESS/BITS", w, name)
			}
			c.addresses = append(c.addresses, p)
		case wordIPv4Gateway, wordIPv6Gateway:
			a, err := netip.ParseAddr(v)
			if err != nil || a.Is4() != (name+"=" == wordIPv4Gateway) || a.Zone() != "" {
				return c, fmt.Errorf("%s: want %s=ADDRESS", w, name)
			}
			c.gateways = append(c.gateways, a)
		case wordNameserver:
			a, err := netip.ParseAddr(v)
			if err != nil {
				return c, fmt.Errorf("%s: want %s=ADDRESS", w, name)
			}
			c.nameservers = append(c.nameservers, a)
		}
	}
	if len(c.gateways) > 0 && !c.static() {
		return c, fmt.Errorf("%s needs an address: --ipv4=ADDRESS/BITS or --ipv6=ADDRESS/BITS", "a gateway")
	}
	return c, nil
}

// refuse ends the guest with a line that says why its network cannot be set up
// as asked.
func refuse(err error) {
	fmt.Fprintln(os.Stderr, "network:", err)
	os.Exit(1)
}

// addressing is closed when the device has its address, or nil if it always had.
var addressing chan struct{}

// patience is how long a call waits for the device's address.
const patience = 5 * time.Second

// awaitAddress waits until the device has an address, if it may get one, for a
// call that needs one. Afterwards calls no longer wait.
func awaitAddress() {
	theStack()
	if addressing == nil {
		return
	}
	select {
	case <-addressing:
		return
	default:
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-addressing:
	case <-t.C:
	}
}
